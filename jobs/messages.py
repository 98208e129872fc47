"""Sentences about failures, made from a code and its data. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gpuagent.protocol.failures import FailureCode
from jobs.room import GIB, counted

_SENTENCES: Mapping[str, str] = {
    FailureCode.OUT_OF_MEMORY: "The agent ran out of memory. Make the picture smaller.",
    FailureCode.DOES_NOT_FIT: "The picture does not fit into the agent's memory. Make it smaller.",
    FailureCode.MODEL_CORRUPT: "The model's files are damaged. Tell an admin; try another model.",
    FailureCode.MODEL_UNREADABLE: "The model does not load. Tell an admin; try another model.",
    FailureCode.ADAPTER_MISSING: (
        "A LoRA, embedding, ControlNet or IP-Adapter is not in the library any more. Remove it."
    ),
    FailureCode.ADAPTER_UNFIT: (
        "A LoRA, embedding, ControlNet or IP-Adapter does not fit the model. Remove it."
    ),
    FailureCode.INPUT_UNREADABLE: "A picture that it starts from could not be read. Add it again.",
    FailureCode.MASK_EMPTY: "The mask is black all over. Paint white what is to change.",
    FailureCode.RECIPE_INVALID: "The agent does not understand this recipe. It may need an update.",
    FailureCode.STORE_FAILED: "The picture could not be stored. Is the disk full? Tell an admin.",
    FailureCode.AGENT_LOST: "The agent stopped answering three times. Try again; tell an admin.",
    FailureCode.YIELDED: "It made way for something more urgent too often. Try again.",
    FailureCode.INTERNAL: "Something went wrong on the agent. Try again.",
}
# What may lie beside the model: its noun, and how many there were in the data.
_BESIDE: Mapping[str, str] = {"ControlNet": "controls", "LoRA": "loras"}
# The same where the agent says what would fit.
_TOO_LARGE: Mapping[str, str] = {
    FailureCode.OUT_OF_MEMORY: "The agent ran out of memory.",
    FailureCode.DOES_NOT_FIT: "The picture does not fit into the agent's memory.",
}


def failure_sentence(code: str, data: Mapping[str, object]) -> str:
    """What to tell the artist about a failed job; `data` is what the agent said beside the code."""
    if code == FailureCode.RECIPE_INVALID and {"field", "value", "limit"} <= data.keys():
        setting = str(data["field"]).replace("_", " ").capitalize()
        return f"{setting} is {data['value']}; this model allows at most {data['limit']}."
    if code in _TOO_LARGE and (more := _needs(data) + _remedy(data)):
        return _TOO_LARGE[code] + more
    return _SENTENCES.get(code, "Something went wrong. Try again.")


def _needs(data: Mapping[str, object]) -> str:
    """What was asked for and what it takes; empty if the agent does not say."""
    width, height, needed, there = (
        _number(data, name) for name in ("width", "height", "needed_bytes", "available_bytes")
    )
    if not (width and height and needed and there):
        return ""
    having = [counted(n, noun) for noun, name in _BESIDE.items() if (n := _number(data, name))]
    beside = f" with {' and '.join(having)}" if having else ""
    if needed <= there:  # so it was thought
        return f" {width} × {height}{beside} was too much."
    return (
        f" {width} × {height}{beside} needs about {needed / GIB:.1f} GiB; "
        f"it has {there / GIB:.1f} GiB."
    )


def _remedy(data: Mapping[str, object]) -> str:
    """What would fit; what to leave out if no size does; empty if nothing is known."""
    if side := _number(data, "largest_side"):
        return f" Up to {side} × {side} pixels it should work."
    fewer = [f"{noun}s" for noun, name in _BESIDE.items() if _number(data, name)]
    return f" Use fewer {' or '.join(fewer)}, or a smaller model." if fewer else ""


def _number(data: Mapping[str, object], name: str) -> int:
    """A whole number above zero; 0 if there is none."""
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
