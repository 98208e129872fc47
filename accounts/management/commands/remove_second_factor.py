"""For who has lost phone, passkeys and recovery codes, and is known to be who they say."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from typing_extensions import override

from accounts.models import User
from accounts.services.audit import SYSTEM, record_person


class Command(BaseCommand):
    """The password stays; sessions end, so that whoever found the phone is out as well."""

    help = "Remove a person's authenticator app, passkeys and recovery codes, and end sessions."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        email = options["email"]
        user = User.objects.filter(email=email.strip().lower()).first()
        if user is None:
            raise CommandError(f"There is nobody with the address {email}.")
        with transaction.atomic():
            count, _ = Authenticator.objects.filter(user=user).delete()
            for session in UserSession.objects.filter(user=user):
                session.end()
            record_person(user.pk, "second_factor.removed", by=SYSTEM)
        self.stdout.write(f"{count} removed. Their password alone opens the account again.")
