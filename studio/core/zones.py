"""Days as people mean them: in the time zone that their browser names."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

_NAME_MAX = 64


def zone_of(name: str) -> tzinfo:
    """The zone of that name (`Europe/Berlin`); UTC if there is none."""
    if not name or len(name) > _NAME_MAX:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # no such zone, or a name that is a path
        return UTC


def start_of_day(day: date, zone: str) -> datetime:
    """The first moment of the day there, in UTC; at the calendar's ends, as far as it goes."""
    try:
        return datetime.combine(day, time.min, zone_of(zone)).astimezone(UTC)
    except OverflowError:
        return datetime.combine(day, time.min, UTC)


def end_of_day(day: date, zone: str) -> datetime:
    """The moment in which the next day begins there, in UTC."""
    return start_of_day(day + timedelta(days=1) if day < date.max else day, zone)
