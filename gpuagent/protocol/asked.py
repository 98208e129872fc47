"""What a request is for, told before it is checked: to draw, enlarge, cut out, or map. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gpuagent.protocol.cutouts import asks_to_cut
from gpuagent.protocol.mapping import asks_for_map
from gpuagent.protocol.taxonomy import AssetKind


def asks_to_upscale(raw: Mapping[str, object]) -> bool:
    """Whether a request, right or wrong, is one for a larger picture."""
    return raw.get("scale") not in (None, "", 0, "0")


def kind_asked(raw: Mapping[str, object]) -> AssetKind:
    """The kind of model that a request, right or wrong, is for."""
    if asks_to_upscale(raw):
        return AssetKind.UPSCALER
    if asks_to_cut(raw):
        return AssetKind.CUTTER
    return AssetKind.MAPPER if asks_for_map(raw) else AssetKind.CHECKPOINT
