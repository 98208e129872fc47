"""Addresses of letters, as people type them."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts.models import User
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError

AT_ONCE_MAX = 50
LENGTH_MAX = 254
# Addresses of service accounts: no mail ever gets there, and nobody can own one (RFC 2606).
NOBODYS_DOMAIN = "service.invalid"


def check_emails(emails: Iterable[str]) -> list[str]:
    """The addresses as they are stored, each once.

    Raises:
        InvalidInputError: there is none, there are too many, or some cannot be; each is named.
    """
    addresses = list(dict.fromkeys(normal(email) for email in emails if email.strip()))
    if not addresses:
        message = "Give at least one e-mail address."
        raise InvalidInputError([FieldProblem(field="emails", code="required", message=message)])
    if len(addresses) > AT_ONCE_MAX:
        message = f"{len(addresses)} addresses at once; at most {AT_ONCE_MAX} can be."
        problem = FieldProblem(
            field="emails",
            code="too_many",
            message=message,
            value=len(addresses),
            limit=AT_ONCE_MAX,
        )
        raise InvalidInputError([problem])
    wrong = [address for address in addresses if not _can_get_mail(address)]
    if wrong:
        raise InvalidInputError(
            [
                FieldProblem(
                    field="emails",
                    code="not_an_address",
                    message=f"{address[:80]} is no e-mail address.",
                    value=address[:80],
                )
                for address in wrong
            ]
        )
    return addresses


def normal(email: str) -> str:
    """As `User.email` is written."""
    return User.objects.normalize_email(email.strip()).lower()


def _can_get_mail(address: str) -> bool:
    if len(address) > LENGTH_MAX or address.endswith("@" + NOBODYS_DOMAIN):
        return False
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True
