"""The adapters that a recipe names: found, called by their words, checked against its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gpuagent.protocol.controls import mappers_of
from gpuagent.protocol.loras import EMBEDDINGS_MAX
from gpuagent.protocol.recipe import FieldProblem, Recipe
from gpuagent.protocol.references import ip_adapters_of
from gpuagent.protocol.taxonomy import AssetKind
from gpuagent.protocol.triggers import has_trigger
from jobs.room import Laid
from library.fitting import why_unfit
from library.models import ModelVersion
from library.selectors import find_adapters, usable_adapters
from studio.core.errors import InvalidInputError

_FIELDS = {
    AssetKind.LORA: "loras",
    AssetKind.EMBEDDING: "embeddings",
    AssetKind.CONTROLNET: "controls",
    AssetKind.IP_ADAPTER: "references",
    AssetKind.VAE: "vae",
    AssetKind.CHECKPOINT: "refiner",
    AssetKind.UPSCALER: "hires_upscaler",
    AssetKind.MAPPER: "controls",
}
_NOUNS = {
    AssetKind.LORA: "LoRA",
    AssetKind.EMBEDDING: "embedding",
    AssetKind.CONTROLNET: "ControlNet",
    AssetKind.IP_ADAPTER: "IP-Adapter",
    AssetKind.VAE: "VAE",
    AssetKind.CHECKPOINT: "refiner",
    AssetKind.UPSCALER: "upscaler",
    AssetKind.MAPPER: "map maker",
}
_FIT_ALL = frozenset({AssetKind.UPSCALER, AssetKind.MAPPER})
Found = dict[str, ModelVersion]


def find_fitting(recipe: Recipe, model: ModelVersion, names: Mapping[str, str] = {}) -> Found:
    """The recipe's adapters, by digest. `names` are what those were called that may be gone.

    Raises:
        InvalidInputError: one is not in the organization's library, or does not fit the model.
    """
    found = find_adapters(recipe.adapters) if recipe.adapters else {}
    problems: list[FieldProblem] = []
    for digest, kind in _named(recipe):
        version = found.get(digest)
        if version is None or version.asset.kind != kind.value:
            problems.append(_unknown(kind, names.get(digest, "")))
        elif kind not in _FIT_ALL and (why := why_unfit(version, model)):
            message = f"{version.asset.name} does not fit {model.asset.name}: {why}. Remove it."
            problems.append(FieldProblem(field=_FIELDS[kind], code="unfit", message=message))
    problems += _same_word(found, recipe)
    if problems:
        raise InvalidInputError(problems)
    return found


def with_called(recipe: Recipe, raw: Mapping[str, object], model: ModelVersion) -> Recipe:
    """The recipe with the embeddings that its prompts call, unless the request says which.

    Of two with one word it is the organization's own, then the one by the first name.
    """
    if raw.get("embeddings") not in (None, ""):
        return recipe
    called: dict[str, str] = {}
    known = [v for v in usable_adapters() if v.asset.kind == AssetKind.EMBEDDING.value]
    for version in sorted(known, key=lambda v: v.asset.organization_id is None):
        word = next(iter(version.trigger_words), "")
        is_called = word and any(has_trigger(text, word) for text in _texts(recipe))
        if is_called and not why_unfit(version, model):
            called.setdefault(word.lower(), version.digest)
    digests = sorted(called.values())[:EMBEDDINGS_MAX]
    return replace(recipe, embeddings=tuple(digests))


def bytes_of(found: Found) -> int:
    """Of the adapters' files."""
    return sum(version.weights_bytes for version in found.values())


def laid_of(found: Found) -> tuple[Laid, ...]:
    """What takes memory beside the model, by kind; those that take most first."""
    kinds = (AssetKind.CONTROLNET, AssetKind.IP_ADAPTER, AssetKind.LORA)
    return tuple(
        Laid(
            noun=_NOUNS[kind],
            field=_FIELDS[kind],
            sizes=tuple(v.weights_bytes for v in found.values() if v.asset.kind == kind.value),
        )
        for kind in kinds
    )


def _named(recipe: Recipe) -> tuple[tuple[str, AssetKind], ...]:
    """Each digest with what it is to be, once: one may be named as two things."""
    parts = ((recipe.vae, AssetKind.VAE), (recipe.refiner, AssetKind.CHECKPOINT))
    return tuple(
        dict.fromkeys(
            (
                *((use.digest, AssetKind.LORA) for use in recipe.loras),
                *((digest, AssetKind.EMBEDDING) for digest in recipe.embeddings),
                *((use.model, AssetKind.CONTROLNET) for use in recipe.controls),
                *((digest, AssetKind.IP_ADAPTER) for digest in ip_adapters_of(recipe.references)),
                *((digest, kind) for digest, kind in parts if digest is not None),
                *((digest, AssetKind.UPSCALER) for digest in recipe.enlargers),
                *((digest, AssetKind.MAPPER) for digest in mappers_of(recipe.controls)),
            )
        )
    )


def _texts(recipe: Recipe) -> tuple[str, str]:
    return recipe.prompt, recipe.negative_prompt


def _unknown(kind: AssetKind, name: str) -> FieldProblem:
    noun = _NOUNS[kind]
    message = f"One {noun} is not in the library (any more). Choose another, or none."
    if name:
        message = f"The {noun} {name} is no longer in the library. An admin can add it again."
    code = "unknown_refiner" if kind is AssetKind.CHECKPOINT else f"unknown_{kind.value}"
    return FieldProblem(field=_FIELDS[kind], code=code, message=message)


def _same_word(found: Found, recipe: Recipe) -> list[FieldProblem]:
    versions = [found[digest] for digest in recipe.embeddings if digest in found]
    words = [word.lower() for version in versions for word in version.trigger_words[:1]]
    if len(set(words)) == len(words):
        return []
    message = "Two of the embeddings are called by the same word. Keep one of them."
    return [FieldProblem(field="embeddings", code="same_word", message=message)]
