"""What can be laid over which model, for the room's form and the API. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import prefetch_related_objects

from library.fitting import why_unfit
from library.models import ModelVersion
from library.presets import usable_presets
from library.selectors import usable_adapters, usable_ip_adapters, usable_vaes


def adapter_choices(models: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    """The newest version of every adapter, with the digests of the models that it fits."""
    prefetch_related_objects(list(models), "files")
    return [
        {
            "digest": version.digest,
            "kind": version.asset.kind,
            "name": version.asset.name,
            "architecture": version.architecture,
            "licence": version.asset.licence,
            "description": version.asset.description,
            "trigger_words": list(version.trigger_words),
            "presets": usable_presets(version.asset.presets),
            "models": [model.digest for model in models if not why_unfit(version, model)],
        }
        for version in (*usable_adapters(), *usable_vaes(), *usable_ip_adapters())
    ]
