"""Memory that agents measured of a version, kept by class of GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from django.db import transaction

from library.models import ModelVersion


class Measured(TypedDict):
    """Bytes of the weights as they lay on the device, and at the highest while pictures came."""

    resident_bytes: int
    peak_bytes: int
    runs: int


def measured_of(version: ModelVersion) -> dict[str, Measured]:
    """By class of GPU."""
    return {str(name): Measured(**values) for name, values in version.memory.items()}


def note_memory(version_id: str, gpu_class: str, *, resident_bytes: int, peak_bytes: int) -> None:
    """Keep what an agent has measured; of the peaks the highest. For work in the system scope."""
    if resident_bytes <= 0 and peak_bytes <= 0:
        return
    with transaction.atomic():
        version = ModelVersion.objects.select_for_update().filter(pk=version_id).first()
        if version is None:
            return
        known: Mapping[str, int] = version.memory.get(gpu_class, {})
        version.memory[gpu_class] = Measured(
            resident_bytes=resident_bytes or known.get("resident_bytes", 0),
            peak_bytes=max(peak_bytes, known.get("peak_bytes", 0)),
            runs=known.get("runs", 0) + 1,
        )
        version.save(update_fields=["memory"])
