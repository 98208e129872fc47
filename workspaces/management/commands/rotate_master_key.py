"""Wraps every workspace's key with the first master key, after a new one was put first."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from typing_extensions import override

from studio.core.scoping import system_scope
from workspaces.services.rotation import rewrap_master


class Command(BaseCommand):
    """Everything stays open to everybody meanwhile; it can be run again at any time."""

    help = "Wrap all workspace keys with the first key of STUDIO_MASTER_KEY."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        with system_scope():
            changed = rewrap_master()
        self.stdout.write(f"{changed} workspaces moved to the first master key.")
        self.stdout.write("Nothing needs the other lines of the master key any more.")
