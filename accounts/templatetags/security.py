"""Template tags of the pages where people sign in."""

from __future__ import annotations

from typing import Any

from django import template

from accounts.adapter import RESET_MAIL_SESSION_KEY
from accounts.second_factor import can_use_passkeys
from studio.core.mail import trouble_of

register = template.Library()


@register.simple_tag(takes_context=True)
def passkeys_work_here(context: dict[str, Any]) -> bool:
    """Whether the browser takes passkeys at this address."""
    return can_use_passkeys(context["request"])


@register.simple_tag(takes_context=True)
def reset_mail_trouble(context: dict[str, Any]) -> str:
    """Why the mail that this browser asked for was not sent; strangers are told the same."""
    mail_id = context["request"].session.get(RESET_MAIL_SESSION_KEY, "")
    return trouble_of(mail_id) if mail_id else ""
