"""What the room's form offers to finish a picture with: other VAEs, refiners. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuagent.protocol.taxonomy import Architecture, AssetKind
from library.models import ModelVersion


def finishing_choices(
    models: Sequence[ModelVersion], adapters: Sequence[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """VAEs of the `adapters` that fit a model here; models that can refine another one."""
    vaes = [each for each in adapters if each["kind"] == AssetKind.VAE.value and each["models"]]
    sdxl = [model for model in models if model.architecture == Architecture.SDXL.value]
    named = [{"digest": model.digest, "name": model.asset.name} for model in sdxl]
    return {"vaes": vaes, "refiners": named if len(named) > 1 else []}
