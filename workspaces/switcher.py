"""What the switcher at the top of every page shows."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from accounts.policy import reachable_organizations
from workspaces.selectors import Rooms, rooms_of

# So many are found at a glance; with more there is a box to find one by its name.
FOUND_AT_A_GLANCE = 8


def switcher(request: HttpRequest) -> dict[str, Any]:
    """For every template; nothing is read unless the page has the switcher."""
    return {"switcher": SimpleLazyObject(lambda: _switcher(request))}


def _switcher(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"groups": [], "has_filter": False}
    among = reachable_organizations(request.session, str(user.pk))
    groups = [_group(rooms) for rooms in rooms_of(str(user.pk), among=among)]
    count = sum(len(group["workspaces"]) for group in groups)
    return {"groups": groups, "has_filter": count > FOUND_AT_A_GLANCE}


def _group(rooms: Rooms) -> dict[str, Any]:
    manage = reverse("workspaces", args=[rooms.organization.pk]) if rooms.can_manage else ""
    return {
        "organization": rooms.organization,
        "workspaces": rooms.workspaces,
        "manage_url": manage,
    }
