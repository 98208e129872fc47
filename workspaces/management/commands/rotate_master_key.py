"""Puts all that lies under the master key under the first one, after a new one was put first."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from typing_extensions import override

from accounts.second_factor import rewrap_secrets
from studio.core.mail import rewrap_mails
from studio.core.scoping import system_scope
from workspaces.services.rotation import rewrap_master


class Command(BaseCommand):
    """Everything stays open to everybody meanwhile; it can be run again at any time."""

    help = "Move workspace keys, second factors and waiting mails to the first master key."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        with system_scope():
            changed = rewrap_master()
        self.stdout.write(f"{changed} workspaces moved to the first master key.")
        self.stdout.write(f"{rewrap_secrets()} second factors moved, {rewrap_mails()} mails.")
        self.stdout.write("Nothing needs the other lines of the master key any more.")
