"""Which ControlNets can guide which model, for the room's form and the API. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import prefetch_related_objects

from gpuagent.protocol.controls import DRAWN_HERE, LABELS, ControlUse
from gpuagent.protocol.families import can_refer
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import ReferenceUse
from gpuagent.protocol.taxonomy import MAPPED, Architecture
from library.fitting import why_unfit
from library.models import ModelVersion
from library.selectors import usable_controls, usable_mappers


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


def reference_models(models: Sequence[ModelVersion]) -> list[str]:
    """Digests of those whose pictures can take after others."""
    return [each.digest for each in models if can_refer(Architecture(each.architecture))]


def control_facts(recipe: Recipe, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What led a picture, by the names it had then."""
    names = {each["digest"]: each["name"] for each in manifest.get("adapters", [])}
    return [
        {
            "label": LABELS[use.kind],
            "name": names.get(use.model, ""),
            "weight": f"{use.weight:g}",
            "share": "" if (use.start, use.end) == (0, 1) else _percent(use),
            "picture": use.picture,
            "is_map": use.map is not None,
        }
        for use in recipe.controls
    ] + [
        {
            "label": "Reference" if use.model is None else "IP-Adapter",
            "name": "weight" if use.model is None else names.get(use.model, ""),
            "weight": f"{use.weight:g}",
            "share": "" if (use.start, use.end) == (0, 1) else _percent(use),
            "picture": use.image,
            "is_map": False,
        }
        for use in recipe.references
    ]


def _percent(use: ControlUse | ReferenceUse) -> str:
    return f"{use.start * 100:g} to {use.end * 100:g} %"


def kind_choices() -> list[dict[str, Any]]:
    """Every kind of map, and what makes it: `here` pixels alone, `agent` a network of the library;
    nothing if such a map is to be brought along.
    """
    networks = {MAPPED[Architecture(found.architecture)] for found in usable_mappers()}
    makers = {**dict.fromkeys(networks, "agent"), **dict.fromkeys(DRAWN_HERE, "here")}
    return [
        {"id": kind.value, "label": label, "drawn": makers.get(kind, "")}
        for kind, label in LABELS.items()
    ]
