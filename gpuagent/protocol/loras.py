"""The part of a recipe that names adapters: LoRAs with their weights, embeddings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpuagent.protocol.recipe_reader import Reader, as_float, is_digest, short

LORAS_MAX = 8
LORA_WEIGHT_MIN, LORA_WEIGHT_MAX = -2.0, 2.0
EMBEDDINGS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraUse:
    """A LoRA by the digest of its version, and how much of it is laid over the model."""

    digest: str
    weight: float = 1.0


def read_loras(reader: Reader) -> tuple[LoraUse, ...]:
    """`loras` of a recipe, in the order given; those that weigh nothing are left out."""
    given = reader.items("loras", LORAS_MAX, "LoRAs")
    read = [_lora(reader, item) for item in given]
    uses = [use for use in read if use is not None]
    _refuse_repeats(reader, "loras", [use.digest for use in uses])
    return tuple(use for use in uses if use.weight != 0)


def read_embeddings(reader: Reader) -> tuple[str, ...]:
    """`embeddings` of a recipe: digests. Their order means nothing, so it is always the same."""
    given = reader.items("embeddings", EMBEDDINGS_MAX, "embeddings")
    digests = [str(item) for item in given if is_digest(item)]
    if len(digests) < len(given):
        message = "Name each embedding by its digest, as `GET adapters` has it."
        reader.problem("embeddings", "unknown_embedding", message)
    _refuse_repeats(reader, "embeddings", digests)
    return tuple(sorted(set(digests)))


def _lora(reader: Reader, item: object) -> LoraUse | None:
    if not isinstance(item, Mapping) or not set(item) <= {"digest", "weight"}:
        message = 'Write each LoRA as {"digest": …, "weight": …}.'
        reader.problem("loras", "not_a_lora", message, short(item))
        return None
    digest, given = item.get("digest"), item.get("weight", 1.0)
    if not is_digest(digest):
        message = "Name each LoRA by its digest, as `GET adapters` has it."
        reader.problem("loras", "unknown_lora", message, short(digest))
        return None
    weight = as_float(given)
    if weight is None:
        reader.problem("loras", "not_a_number", "A LoRA's weight must be a number.", short(given))
        return None
    if not LORA_WEIGHT_MIN <= weight <= LORA_WEIGHT_MAX:
        reader.problem(
            "loras",
            "out_of_range",
            f"A LoRA's weight is {weight:g}; choose from {LORA_WEIGHT_MIN:g} to "
            f"{LORA_WEIGHT_MAX:g}.",
            weight,
            [LORA_WEIGHT_MIN, LORA_WEIGHT_MAX],
        )
        return None
    return LoraUse(digest=str(digest), weight=weight)


def _refuse_repeats(reader: Reader, field: str, digests: list[str]) -> None:
    if len(set(digests)) < len(digests):
        reader.problem(field, "twice", "One of them is named twice. Name each once.")
