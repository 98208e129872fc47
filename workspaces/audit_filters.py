"""Filters of the audit log as they stand in an address: of the page, the export and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

from accounts.actors import Actor
from accounts.audit_log import Filters, Through
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError
from studio.core.zones import end_of_day, start_of_day

_TEXT_MAX = 64
_SHOWN = 40


def parse_filters(values: Mapping[str, str], actor: Actor) -> Filters:
    """What `actor`, `action`, `object`, `workspace`, `through`, `from`, `to` and `zone` ask for.

    `from` and `to` are days (both included) in the time zone `zone`, or moments.

    Raises:
        InvalidInputError: a value cannot be; all of them are named.
    """
    problems: list[FieldProblem] = []
    zone = values.get("zone", "")
    start = _moment(values, "from", lambda day: start_of_day(day, zone), problems)
    end = _moment(values, "to", lambda day: end_of_day(day, zone), problems)
    if start and end and start >= end:
        message = "The first day is after the last one; nothing can lie between."
        problems.append(FieldProblem(field="to", code="order", message=message))
    through = _through(values.get("through", ""), problems)
    texts = {name: values.get(name, "").strip() for name in TEXTS}
    problems += [
        FieldProblem(
            field=name,
            code="too_long",
            message=f"{name} has {len(text)} characters; at most {_TEXT_MAX} can be.",
            value=len(text),
            limit=_TEXT_MAX,
        )
        for name, text in texts.items()
        if len(text) > _TEXT_MAX
    ]
    if problems:
        raise InvalidInputError(problems)
    return Filters(
        actor=texts["actor"],
        action=texts["action"],
        object_id=texts["object"],
        workspace=texts["workspace"],
        start=start,
        end=end,
        through=through,
        within=actor.workspace_ids,
    )


TEXTS = ("actor", "action", "object", "workspace")
NAMES = (*TEXTS, "through", "from", "to", "zone")


def _through(value: str, problems: list[FieldProblem]) -> Through | None:
    try:
        return Through(value) if value else None
    except ValueError:
        message = f"through is token or browser, not {value[:_SHOWN]}."
        problems.append(FieldProblem(field="through", code="unknown", message=message))
        return None


def _moment(
    values: Mapping[str, str],
    name: str,
    of_day: Callable[[date], datetime],
    problems: list[FieldProblem],
) -> datetime | None:
    text = values.get(name, "").strip()
    if not text:
        return None
    try:
        if len(text) == len("2027-01-31"):
            return of_day(date.fromisoformat(text))
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that was not escaped
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text[:_SHOWN]} is no date; give one such as 2027-01-31."
        problems.append(
            FieldProblem(field=name, code="not_a_date", message=message, value=text[:_SHOWN])
        )
        return None
