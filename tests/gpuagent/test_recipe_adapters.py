"""LoRAs and embeddings in a recipe: limits, spellings, and recipes that have none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpuagent.protocol.loras import LoraUse
from gpuagent.protocol.manifest import build_manifest, infotext
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind

BASE: dict[str, Any] = {"model": "a" * 64, "prompt": "a mug"}
NEON, TEAL = "b" * 64, "c" * 64


def parse(**raw: object) -> Recipe:
    return parse_recipe({**BASE, **raw})


def test_a_stack_is_read_in_its_order_from_a_list_or_a_forms_text() -> None:
    given = [{"digest": TEAL, "weight": "-0.5"}, {"digest": NEON}]
    stack = (LoraUse(digest=TEAL, weight=-0.5), LoraUse(digest=NEON, weight=1.0))
    assert parse(loras=given).loras == stack
    assert parse(loras=json.dumps(given)).loras == stack


def test_recipes_come_back_from_the_wire() -> None:
    recipe = parse(loras=[{"digest": NEON, "weight": 0.75}], embeddings=[TEAL])
    wire = json.loads(json.dumps(recipe.to_wire()))
    assert wire["loras"] == [{"digest": NEON, "weight": 0.75}]
    assert wire["embeddings"] == [TEAL]
    assert parse_recipe(wire) == recipe


@pytest.mark.parametrize("none", [None, "", [], "[]", [{"digest": NEON, "weight": 0}]])
def test_without_adapters_a_recipe_is_written_as_ever(none: object) -> None:
    recipe = parse(loras=none)
    assert recipe == parse()
    assert not {"loras", "embeddings"} & set(recipe.to_wire())


def test_the_order_of_embeddings_means_nothing() -> None:
    assert parse(embeddings=[TEAL, NEON]) == parse(embeddings=[NEON, TEAL])


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"loras": "x"}, ("loras", "not_a_list")),
        ({"loras": "[" * 5_000}, ("loras", "not_a_list")),
        ({"loras": 3}, ("loras", "not_a_list")),
        ({"loras": ["x"]}, ("loras", "not_a_lora")),
        ({"loras": [{"digest": NEON, "strength": 1}]}, ("loras", "not_a_lora")),
        ({"loras": [{"digest": "x"}]}, ("loras", "unknown_lora")),
        ({"loras": [{"weight": 1}]}, ("loras", "unknown_lora")),
        ({"loras": [{"digest": NEON, "weight": 2.01}]}, ("loras", "out_of_range")),
        ({"loras": [{"digest": NEON, "weight": -2.01}]}, ("loras", "out_of_range")),
        ({"loras": [{"digest": NEON, "weight": "nan"}]}, ("loras", "not_a_number")),
        ({"loras": [{"digest": NEON, "weight": True}]}, ("loras", "not_a_number")),
        ({"loras": [{"digest": NEON}, {"digest": NEON}]}, ("loras", "twice")),
        ({"loras": [{"digest": f"{n:064x}"} for n in range(9)]}, ("loras", "too_many")),
        ({"embeddings": ["teal"]}, ("embeddings", "unknown_embedding")),
        ({"embeddings": [TEAL, TEAL]}, ("embeddings", "twice")),
        ({"embeddings": [f"{n:064x}" for n in range(17)]}, ("embeddings", "too_many")),
    ],
)
def test_what_cannot_be_is_told_with_its_field(
    raw: dict[str, object], problem: tuple[str, str]
) -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parse(**raw)
    assert problem in [(each.field, each.code) for each in caught.value.problems]


def ref(digest: str, name: str, kind: AssetKind, *words: str) -> ModelRef:
    return ModelRef(
        version_id="ver_01J00000000000000000000000",
        name=name,
        digest=digest,
        architecture=Architecture.SD15,
        kind=kind,
        files=(),
        trigger_words=words,
    )


def test_the_manifest_names_what_was_laid_over_the_model() -> None:
    recipe = parse(loras=[{"digest": NEON, "weight": 0.75}], embeddings=[TEAL])
    adapters = (
        ref("d" * 64, "Not used", AssetKind.LORA),
        ref(TEAL, "Teal", AssetKind.EMBEDDING, "<teal>"),
        ref(NEON, "Neon signs", AssetKind.LORA, "neon sign of"),
    )
    manifest = build_manifest(
        recipe,
        index=0,
        model_name="House",
        model_digest=recipe.model,
        architecture="sd15",
        engine={},
        adapters=adapters,
    )
    assert manifest["adapters"] == [
        {"kind": "lora", "name": "Neon signs", "digest": NEON, "weight": 0.75},
        {"kind": "embedding", "name": "Teal", "digest": TEAL, "trigger": "<teal>"},
    ]
    text = infotext(
        recipe, index=0, model_name="House", model_digest=recipe.model, adapters=adapters
    )
    assert text.startswith("a mug <lora:Neon signs:0.75>\n")
    assert f'Lora hashes: "Neon signs: {NEON[:10]}"' in text
    assert f'TI hashes: "Teal: {TEAL[:10]}"' in text
