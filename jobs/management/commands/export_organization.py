"""`manage.py export_organization ORG FILE`: everything of an organization in one ZIP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from accounts.models import Organization
from jobs.export.archive import Archive
from jobs.services.export import begin_operators_export
from studio.core.scoping import organization_scope


class Command(BaseCommand):
    """Nothing in the file is encrypted any more: only its owner may read it."""

    help = "Write everything of an organization, decrypted, to a ZIP file."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("organization", help="id, org_…")
        parser.add_argument("file", help="the ZIP to write; it must not exist yet")

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        organization = Organization.objects.filter(pk=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization {options['organization']}.")
        target = Path(options["file"])
        if target.exists():
            raise CommandError(f"{target} exists already. Name another file.")
        archive = Archive()
        with organization_scope(organization.pk):
            _write(target, archive, organization)
        self.stdout.write(f"{target}: {target.stat().st_size} bytes")
        if archive.errors:
            count = len(archive.errors)
            raise CommandError(
                f"{count} things are missing or damaged; errors.txt names them.", returncode=3
            )


def _write(target: Path, archive: Archive, organization: Organization) -> None:
    """Under another name until it is whole."""
    part = target.with_name(f"{target.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in begin_operators_export(archive, organization):
                file.write(piece)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
