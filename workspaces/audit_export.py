"""The audit log as a file, a few thousand rows at a time, however long it is."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from channels.db import database_sync_to_async

from accounts.audit_log import Filters, page_of
from accounts.models import AuditEvent
from studio.core.scoping import organization_scope
from workspaces.audit_names import names_in

BATCH = 2_000
COLUMNS = (
    "time",
    "actor",
    "actor_name",
    "token",
    "token_name",
    "action",
    "object",
    "object_name",
    "details",
    "address",
    "id",
)
# What a spreadsheet would take for a formula, also behind blanks.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Where numbers have commas, a spreadsheet begins a new cell at each semicolon.
_NEXT_CELL = re.compile(r";(?=[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def event_row(event: AuditEvent, names: Mapping[str, str]) -> dict[str, Any]:
    """One event as programs get it; a name is empty where there is none (any more)."""
    return {
        "time": event.created_at.isoformat(),
        "actor": event.actor_id,
        "actor_name": names.get(event.actor_id, ""),
        "token": event.token_id,
        "token_name": names.get(event.token_id, ""),
        "action": event.action,
        "object": event.object_id,
        "object_name": names.get(event.object_id, ""),
        "details": event.details,
        "address": event.address or "",
        "id": event.pk,
    }


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Lines of CSV (RFC 4180). A cell that a spreadsheet would run begins with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        values = {**row, "details": json.dumps(row["details"], sort_keys=True)}
        writer.writerow([_harmless(str(values[column])) for column in COLUMNS])
    return text.getvalue()


def as_ndjson(rows: Iterable[Mapping[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _harmless(cell: str) -> str:
    cell = _NEXT_CELL.sub(";'", cell)
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


Write = Callable[[Iterable[Mapping[str, Any]]], str]
FORMATS: Mapping[str, tuple[str, str, Write]] = MappingProxyType(
    {
        "csv": ("text/csv; charset=utf-8", ",".join(COLUMNS) + "\r\n", as_csv),
        "ndjson": ("application/x-ndjson", "", as_ndjson),
    }
)


async def stream(organization_id: str, filters: Filters, kind: str) -> AsyncIterator[str]:
    """The file, piece by piece: the next is read when the last was sent."""
    _media_type, head, write = FORMATS[kind]
    read = database_sync_to_async(_batch)
    if head:
        yield head
    before = ""
    while True:
        rows, before = await read(organization_id, filters, before)
        yield write(rows)
        if not before:
            return


def _batch(
    organization_id: str, filters: Filters, before: str
) -> tuple[Sequence[Mapping[str, Any]], str]:
    with organization_scope(organization_id):
        events, following = page_of(filters, before=before, size=BATCH)
        names = names_in(events)
        return [event_row(event, names) for event in events], following
