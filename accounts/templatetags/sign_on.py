"""What the sign-in page shows of single sign-on."""

from __future__ import annotations

from typing import Any

from django import template

from accounts.models import IdentityProvider
from accounts.sign_on.remembered import remembered

register = template.Library()


@register.simple_tag(takes_context=True)
def remembered_sign_on(context: dict[str, Any]) -> IdentityProvider | None:
    """The company sign-on that this browser used last."""
    return remembered(context["request"])
