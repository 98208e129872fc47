"""Names for the ids in the audit log, where there are any still."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet

from accounts.models import ApiToken, AuditEvent, Organization, Team, User
from accounts.services.audit import NOBODY, SYSTEM
from workspaces.models import Workspace

_SAID = {SYSTEM: "The studio", NOBODY: "Nobody signed in"}


def names_in(events: Sequence[AuditEvent]) -> Mapping[str, str]:
    """The name of each id that these events mention, in the organization in scope."""
    ids = {pk for event in events for pk in _ids(event)}
    if not ids:
        return _SAID
    organization_id = events[0].organization_id
    found = dict(_SAID)
    for user in _people(organization_id, _of("usr", ids)):
        found[user.pk] = user.shown_name
    tokens = ApiToken.objects.filter(pk__in=_of("tok", ids), organization_id=organization_id)
    organizations = Organization.objects.filter(pk__in={organization_id} & ids)
    for rows in (
        tokens.values_list("pk", "name"),
        Workspace.objects.filter(pk__in=_of("wsp", ids)).values_list("pk", "name"),
        Team.objects.filter(pk__in=_of("tea", ids)).values_list("pk", "name"),
        organizations.values_list("pk", "name"),
    ):
        found.update(rows)
    return found


def _people(organization_id: str, ids: Sequence[str]) -> QuerySet[User]:
    """Those of them who are members, or were: what somebody did outlasts their membership.

    Who left is the object of an event (`member.left`, `member.removed`). An id may also come from
    a filter that a reader has typed; it names nobody of another organization.
    """
    were = AuditEvent.objects.filter(object_id__in=ids).values("object_id")
    return User.objects.filter(
        Q(memberships__organization_id=organization_id) | Q(pk__in=were), pk__in=ids
    ).distinct()


def _of(prefix: str, ids: Iterable[str]) -> list[str]:
    return [pk for pk in ids if pk.startswith(f"{prefix}_")]


def _ids(event: AuditEvent) -> Iterable[str]:
    yield from (event.actor_id, event.token_id, event.object_id)
    for value in event.details.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from (entry for entry in value if isinstance(entry, str))


def details_in_words(details: Mapping[str, Any], names: Mapping[str, str]) -> list[tuple[str, str]]:
    """`[("role", "artist")]`: each detail as people read it, ids by their names."""
    return [
        (key.replace("_", " "), _time(value) if key.endswith("_at") else _in_words(value, names))
        for key, value in details.items()
    ]


def _time(value: object) -> str:
    try:
        return f"{datetime.fromisoformat(str(value)).astimezone(UTC):%-d %b %Y, %H:%M} UTC"
    except ValueError:
        return str(value)


def _in_words(value: object, names: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(_in_words(entry, names) for entry in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(inner, names)}" for key, inner in value.items())
    return names.get(str(value), str(value))
