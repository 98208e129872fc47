"""Reading the audit log: filters, and pages that begin where the last one ended."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import Q, QuerySet

from accounts.models import AuditEvent
from studio.core.ids import lowest_id

PAGE_SIZE = 100


class Through(StrEnum):
    """What somebody acted through."""

    TOKEN = "token"  # noqa: S105  # not a password
    BROWSER = "browser"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Empty ones leave all. `action` is an action or its noun; `end` itself is left out.

    `within` is no wish but a limit: the workspaces that a token is limited to.
    """

    actor: str = ""
    action: str = ""
    object_id: str = ""
    workspace: str = ""
    start: datetime | None = None
    end: datetime | None = None
    through: Through | None = None
    within: frozenset[str] = frozenset()

    def codes(self) -> dict[str, object]:
        """What the audit log keeps of a reading of itself."""
        wanted = {
            "actor": self.actor,
            "action": self.action,
            "object": self.object_id,
            "workspace": self.workspace,
            "from": self.start and self.start.isoformat(),
            "to": self.end and self.end.isoformat(),
            "through": self.through and self.through.value,
        }
        return {key: value for key, value in wanted.items() if value}


def find_events(filters: Filters) -> QuerySet[AuditEvent]:
    """Events of the organization in scope, newest first.

    Ids begin with the time they were made at, so that one index serves order, cursor and dates.
    """
    events = AuditEvent.objects.order_by("-id")
    if filters.actor:
        events = events.filter(actor_id=filters.actor)
    if filters.action:
        whole = "." in filters.action
        events = events.filter(
            Q(action=filters.action) if whole else Q(action__startswith=f"{filters.action}.")
        )
    if filters.object_id:
        events = events.filter(object_id=filters.object_id)
    if filters.workspace:
        events = events.filter(_in_workspaces([filters.workspace]))
    if filters.within:
        events = events.filter(_in_workspaces(filters.within))
    if filters.start:
        events = events.filter(id__gte=lowest_id("aud", filters.start))
    if filters.end:
        events = events.filter(id__lt=lowest_id("aud", filters.end))
    if filters.through is Through.TOKEN:
        events = events.exclude(token_id="")
    elif filters.through is Through.BROWSER:
        events = events.filter(token_id="", actor_id__startswith="usr_")
    return events


def page_of(
    filters: Filters, *, before: str = "", size: int = PAGE_SIZE
) -> tuple[list[AuditEvent], str]:
    """A page, and the `before` of the next one; empty at the end."""
    events = find_events(filters)
    if before:
        events = events.filter(id__lt=before)
    page = list(events[: size + 1])
    return page[:size], page[size - 1].pk if len(page) > size else ""


def _in_workspaces(ids: Collection[str]) -> Q:
    return Q(object_id__in=ids) | Q(details__workspace__in=ids)
