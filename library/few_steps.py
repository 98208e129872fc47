"""Presets that a model's or a LoRA's family and name call for, where its keeper gives none.

Models and LoRAs of few steps (LCM, Turbo, Lightning, Hyper) want a sampler and a guidance of their
own, and are named for what they are. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gpuagent.protocol.taxonomy import Architecture
from library.presets import Preset

_STEPS = re.compile(r"(?<!\d)(\d{1,2})[\s_-]*steps?(?![a-z])")
_STEPS_MOST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What one kind wants; `steps` unless the name says how many."""

    name: str
    steps: int
    sampler: str
    guidance: float = 1.0


_WAYS: Mapping[str, _Way] = {
    "lcm": _Way(name="LCM", steps=4, sampler="lcm"),
    "turbo": _Way(name="Turbo", steps=4, sampler="euler_a"),
    "lightning": _Way(name="Lightning", steps=4, sampler="euler"),
    "hyper": _Way(name="Hyper", steps=8, sampler="tcd"),
}
_FLOWS = frozenset({Architecture.SD3, Architecture.FLUX})
_FLOW_SAMPLER = "euler"
_SCHNELL = _Way(name="Schnell", steps=4, sampler=_FLOW_SAMPLER)
_USUAL: Mapping[Architecture, _Way] = {
    Architecture.SD3: _Way(name="Standard", steps=28, sampler=_FLOW_SAMPLER, guidance=4.5),
    Architecture.FLUX: _Way(name="Standard", steps=28, sampler=_FLOW_SAMPLER, guidance=3.5),
}


def presets_of_model(
    architecture: Architecture, text: str, *, is_guided: bool = True
) -> list[Preset]:
    """For a model of which this is said; `is_guided` is what its config says, if it is Flux."""
    way = _way(architecture, text)
    if way is None and architecture is Architecture.FLUX and not is_guided:
        way = _SCHNELL
    way = way or _USUAL.get(architecture)
    return [] if way is None else [_preset(way, text)]


def presets_of_lora(architecture: Architecture, text: str) -> list[Preset]:
    """For a LoRA of which this is said: only those of few steps have any."""
    way = _way(architecture, text)
    return [] if way is None else [_preset(way, text)]


def _way(architecture: Architecture, text: str) -> _Way | None:
    words = re.findall(r"[a-z]+", text.lower())
    way = next((way for word, way in _WAYS.items() if word in words), None)
    if way is None or architecture not in _FLOWS:
        return way
    return _Way(name=way.name, steps=way.steps, sampler=_FLOW_SAMPLER)


def _preset(way: _Way, text: str) -> Preset:
    said = _STEPS.search(text.lower())
    steps = int(said[1]) if said is not None and 1 <= int(said[1]) <= _STEPS_MOST else way.steps
    if way.name == "Standard":
        steps = way.steps
    return Preset(
        name=way.name,
        recipe={
            "num_inference_steps": steps,
            "guidance_scale": way.guidance,
            "sampler": way.sampler,
        },
    )
