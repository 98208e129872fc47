"""Founds an organization and prints the link at which its owner comes in."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from accounts.services.founding import found_organization
from accounts.services.invitations import LIFE
from studio.core.errors import InvalidInputError


class Command(BaseCommand):
    """The link is for the owner alone. It is printed once and stored nowhere."""

    help = "Found an organization; prints a one-time link for its owner."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the organization's name")
        parser.add_argument("--owner", required=True, metavar="EMAIL", help="address of its owner")

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        try:
            organization, link = found_organization(
                name=options["name"], owner_email=options["owner"]
            )
        except InvalidInputError as error:
            raise CommandError(" ".join(p.message for p in error.problems)) from error
        self.stdout.write(
            f"{organization.pk} was founded. Its owner opens, within {LIFE.days} days:"
        )
        self.stdout.write(link)
