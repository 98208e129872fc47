"""Says who runs the installation: its machines, models for everybody and shares."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from typing_extensions import override

from accounts.models import User
from accounts.services.audit import SYSTEM, record_person


class Command(BaseCommand):
    """An operator sees the fleet's page in whichever organization they work in."""

    help = "Make a person an operator of this installation, or with --remove no more."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--remove", action="store_true")

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        email, is_operator = options["email"], not options["remove"]
        user = User.objects.filter(email=email.strip().lower(), is_service=False).first()
        if user is None:
            raise CommandError(f"There is nobody with the address {email}.")
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(is_operator=is_operator)
            action = "operator.added" if is_operator else "operator.removed"
            record_person(user.pk, action, by=SYSTEM)
        self.stdout.write(f"{email} is {'an' if is_operator else 'no'} operator now.")
