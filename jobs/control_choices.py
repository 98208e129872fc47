"""Which ControlNets can guide which model, for the room's form and the API. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import prefetch_related_objects

from gpuagent.protocol.controls import DRAWN_HERE, LABELS
from library.fitting import why_unfit
from library.models import ModelVersion
from library.selectors import usable_controls


def control_choices(models: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    """The newest version of every ControlNet, with the digests of the models that it fits."""
    prefetch_related_objects(list(models), "files")
    return [
        {
            "digest": version.digest,
            "name": version.asset.name,
            "architecture": version.architecture,
            "licence": version.asset.licence,
            "description": version.asset.description,
            "kinds": list(version.trigger_words),
            "models": [model.digest for model in models if not why_unfit(version, model)],
        }
        for version in usable_controls()
    ]


def kind_choices() -> list[dict[str, Any]]:
    """Every kind of map, and whether it is made here."""
    return [
        {"id": kind.value, "label": label, "is_drawn": kind in DRAWN_HERE}
        for kind, label in LABELS.items()
    ]
