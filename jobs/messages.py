"""Sentences about failures, made from a code and its data. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gpuagent.protocol.failures import FailureCode

_SENTENCES: Mapping[str, str] = {
    FailureCode.OUT_OF_MEMORY: "The agent ran out of memory. Make the picture smaller.",
    FailureCode.DOES_NOT_FIT: "The picture does not fit into the agent's memory. Make it smaller.",
    FailureCode.MODEL_CORRUPT: "The model's files are damaged. Tell an admin; try another model.",
    FailureCode.MODEL_UNREADABLE: "The model does not load. Tell an admin; try another model.",
    FailureCode.ADAPTER_MISSING: (
        "A LoRA, embedding or ControlNet is not in the library any more. Remove it."
    ),
    FailureCode.ADAPTER_UNFIT: (
        "A LoRA, embedding or ControlNet does not fit the model. Remove it."
    ),
    FailureCode.INPUT_UNREADABLE: "A picture that it starts from could not be read. Add it again.",
    FailureCode.MASK_EMPTY: "The mask is black all over. Paint white what is to change.",
    FailureCode.RECIPE_INVALID: "The agent does not understand this recipe. It may need an update.",
    FailureCode.STORE_FAILED: "The picture could not be stored. Is the disk full? Tell an admin.",
    FailureCode.AGENT_LOST: "The agent stopped answering three times. Try again; tell an admin.",
    FailureCode.YIELDED: "It made way for something more urgent too often. Try again.",
    FailureCode.INTERNAL: "Something went wrong on the agent. Try again.",
}
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
    side = data.get("largest_side")
    if code in _TOO_LARGE and isinstance(side, int) and not isinstance(side, bool) and side > 0:
        return f"{_TOO_LARGE[code]} Up to {side} × {side} pixels it should work."
    return _SENTENCES.get(code, "Something went wrong. Try again.")
