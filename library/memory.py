"""Memory that agents measured of a version, kept by class of GPU: of each figure the highest."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict

from django.db import transaction

from library.models import ModelVersion


class Measured(TypedDict):
    """Bytes of the weights as they were loaded, and of all at the highest while pictures came."""

    resident_bytes: int
    peak_bytes: int


def measured_of(version: ModelVersion) -> dict[str, Measured]:
    """By class of GPU."""
    return {
        str(name): Measured(
            resident_bytes=int(values.get("resident_bytes", 0)),
            peak_bytes=int(values.get("peak_bytes", 0)),
        )
        for name, values in version.memory.items()
    }


def loaded_bytes(version: ModelVersion, gpu_classes: Collection[str]) -> int:
    """What its weights take on the worst of these classes; 0 if one has not been measured."""
    known = measured_of(version)
    sizes = [known[name]["resident_bytes"] if name in known else 0 for name in gpu_classes]
    return max(sizes, default=0) if all(sizes) else 0


def note_memory(
    version: ModelVersion, gpu_class: str, *, resident_bytes: int, peak_bytes: int
) -> None:
    """Keep what an agent has measured. Most runs say nothing new, and write nothing.

    For work in the system scope: the version may be public.
    """
    if not _is_news(version, gpu_class, resident_bytes, peak_bytes):
        return
    with transaction.atomic():
        row = ModelVersion.objects.select_for_update().get(pk=version.pk)
        known = measured_of(row).get(gpu_class, Measured(resident_bytes=0, peak_bytes=0))
        row.memory[gpu_class] = Measured(
            resident_bytes=max(resident_bytes, known["resident_bytes"]),
            peak_bytes=max(peak_bytes, known["peak_bytes"]),
        )
        row.save(update_fields=["memory"])


def _is_news(version: ModelVersion, gpu_class: str, resident_bytes: int, peak_bytes: int) -> bool:
    known = measured_of(version).get(gpu_class, Measured(resident_bytes=0, peak_bytes=0))
    return resident_bytes > known["resident_bytes"] or peak_bytes > known["peak_bytes"]
