"""Codes of what can go wrong in an attempt, and whether trying again can help."""

from __future__ import annotations

from enum import StrEnum


class FailureCode(StrEnum):
    """Each is told to the artist in a sentence made from the code and its data."""

    OUT_OF_MEMORY = "gpu.out_of_memory"
    DOES_NOT_FIT = "gpu.does_not_fit"
    MODEL_CORRUPT = "model.corrupt"
    MODEL_UNREADABLE = "model.unreadable"
    ADAPTER_MISSING = "adapter.missing"
    ADAPTER_UNFIT = "adapter.unfit"
    INPUT_UNREADABLE = "input.unreadable"
    MASK_EMPTY = "mask.empty"
    RECIPE_INVALID = "recipe.invalid"
    STORE_FAILED = "store.failed"
    AGENT_LOST = "agent.lost"
    YIELDED = "agent.yielded"
    INTERNAL = "agent.internal"


RETRYABLE = frozenset(
    {
        FailureCode.OUT_OF_MEMORY,
        FailureCode.MODEL_CORRUPT,
        FailureCode.STORE_FAILED,
        FailureCode.AGENT_LOST,
        FailureCode.YIELDED,
        FailureCode.INTERNAL,
    }
)
