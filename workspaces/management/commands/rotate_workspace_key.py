"""Gives workspaces new keys and moves everything in them over."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from studio.core.scoping import system_scope
from workspaces.models import Workspace
from workspaces.services.rotation import rotate_workspace_key


class Command(BaseCommand):
    """People go on working meanwhile. A rotation that was broken off goes on."""

    help = "Give a workspace (or every one, with --all) a new key."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("workspace", nargs="?", help="id, wsp_…")
        parser.add_argument("--all", action="store_true", help="every workspace, one by one")

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        if bool(options["workspace"]) == options["all"]:
            raise CommandError("Give the id of a workspace, or --all.")
        with system_scope():
            known = Workspace.objects.order_by("pk").values_list("pk", flat=True)
            ids = list(known if options["all"] else known.filter(pk=options["workspace"]))
            if not ids:
                raise CommandError(f"There is no workspace {options['workspace']}.")
            for number, pk in enumerate(ids, 1):
                moved = rotate_workspace_key(pk)
                self.stdout.write(f"{pk} ({number} of {len(ids)}): {moved} keys wrapped anew")
        self.stdout.write("The old keys still open for an hour, then they are destroyed.")
