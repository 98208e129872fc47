"""Reading what agents say of themselves: leniently, and never more than fits. Pure.

An agent is a program of another release, or one that somebody has taken over: what cannot be
read is left out, numbers are bounded, and texts are cut to plain short ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

CODE_MAX = 64
CLASS_MAX = 80
LABELS_MAX = 16
LABEL_MAX = 40
RESIDENTS_MAX = 200
THROTTLES_MAX = 8
BYTES_MAX = 2**50
PLACES = ("gpu", "host", "disk")
_LABEL = re.compile(rf"[a-z0-9][a-z0-9._:-]{{0,{LABEL_MAX - 1}}}")
_CODE = re.compile(r"[a-z0-9][a-z0-9._-]*")
_DIGEST = re.compile(r"[0-9a-f]{1,64}")
# What a number is called, and between what it lies.
_NUMBERS = {
    "temperature_c": (-50.0, 200.0),
    "power_w": (0.0, 5_000.0),
    "utilization": (0.0, 1.0),
    "memory_used_bytes": (0.0, float(BYTES_MAX)),
    "batch_limit": (1.0, 16.0),
    "plan_error": (0.0, 100.0),
}


def read_telemetry(raw: Mapping[str, object]) -> dict[str, Any]:
    """Known numbers within their bounds, and the reasons for throttling."""
    read: dict[str, Any] = {}
    for name, (low, high) in _NUMBERS.items():
        value = _number(raw.get(name))
        if value is not None:
            read[name] = min(max(value, low), high)
    reasons = raw.get("throttled")
    if isinstance(reasons, list | tuple):
        read["throttled"] = [c for c in map(read_code, reasons) if c][:THROTTLES_MAX]
    return read


def read_residents(raw: Iterable[Mapping[str, object]]) -> list[dict[str, Any]]:
    """Components of models in its memory or on its disk; names are those of the library's."""
    read: list[dict[str, Any]] = []
    for item in raw:
        if len(read) == RESIDENTS_MAX:
            break
        digest, place = item.get("digest"), item.get("place")
        component = read_code(item.get("component"))
        size = _number(item.get("bytes"))
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and place in PLACES and component:
            size = min(max(size or 0.0, 0.0), float(BYTES_MAX))
            read.append(
                {"digest": digest, "component": component, "bytes": int(size), "place": place}
            )
    return read


def read_code(raw: object) -> str:
    """A short plain word; empty if it is none."""
    if not isinstance(raw, str):
        return ""
    text = raw.strip().lower().replace(" ", "_")[:CODE_MAX]
    return text if _CODE.fullmatch(text) else ""


def read_text(raw: object, longest: int) -> str:
    """One line of printable characters."""
    text = raw if isinstance(raw, str) else ""
    return "".join(char for char in text if char.isprintable()).strip()[:longest]


def read_labels(raw: Iterable[object]) -> list[str]:
    """Sound labels, each once, sorted; the others are left out."""
    texts = (item.strip().lower() for item in raw if isinstance(item, str))
    return sorted({text for text in texts if _LABEL.fullmatch(text)})[:LABELS_MAX]


def bad_labels(raw: Iterable[str]) -> list[str]:
    """Those that are no labels, as they were written."""
    return [text for text in raw if not _LABEL.fullmatch(text)]


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    try:
        value = float(raw)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
