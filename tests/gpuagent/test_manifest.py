"""The manifest: equal for equal pictures, and enough to make the picture again."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from gpuagent.protocol.manifest import build_manifest, canonical, infotext, same_engine
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import InpaintArea

GOLDEN = Path(__file__).resolve().parents[1] / "wire" / "golden" / "manifest.v1.json"
ENGINE = {"torch": "2.13.0", "threads": 1, "device": "cpu:AVX2"}
RECIPE = Recipe(
    model="a" * 64,
    prompt="ein Becher, größer als sonst 🫖",
    negative_prompt="blurry",
    seed=7,
    num_images_per_prompt=3,
    clip_skip=1,
    image="b" * 64,
)


def manifest_of(recipe: Recipe, index: int) -> dict[str, object]:
    return build_manifest(
        recipe,
        index=index,
        model_name="House",
        model_digest=recipe.model,
        architecture="sd15",
        engine=ENGINE,
    )


def test_manifest_is_what_the_golden_file_says() -> None:
    if os.environ.get("STUDIO_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(manifest_of(RECIPE, 2), indent=2, sort_keys=True) + "\n")
    assert manifest_of(RECIPE, 2) == json.loads(GOLDEN.read_text())


def test_manifest_of_a_picture_is_that_of_the_picture_made_alone() -> None:
    assert manifest_of(RECIPE, 2) == manifest_of(RECIPE.only(2), 0)


def test_recipe_in_the_manifest_makes_just_this_picture() -> None:
    recipe = manifest_of(RECIPE, 2)["recipe"]
    assert isinstance(recipe, dict)
    assert parse_recipe(recipe) == RECIPE.only(2)


def test_canonical_spelling_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": {"d": 2, "c": "ü"}}) == '{"a":{"c":"ü","d":2},"b":1}'
    assert canonical({"a": {"c": "ü", "d": 2}, "b": 1}) == canonical(
        {"b": 1, "a": {"d": 2, "c": "ü"}}
    )


def test_infotext_reads_as_other_tools_write_it() -> None:
    text = infotext(RECIPE, index=1, model_name="House", model_digest="a" * 64)
    assert text.splitlines() == [
        "ein Becher, größer als sonst 🫖",
        "Negative prompt: blurry",
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 5, Seed: 8, Size: 128x128, "
        "Model hash: aaaaaaaaaa, Model: House, Clip skip: 1, Denoising strength: 0.7",
    ]


def test_infotext_says_what_other_tools_say_of_masks() -> None:
    masked = replace(RECIPE, mask="c" * 64, mask_blur=6, inpaint_area=InpaintArea.MASKED)
    text = infotext(masked, index=0, model_name="House", model_digest="a" * 64)
    assert text.endswith(
        "Denoising strength: 0.7, Mask blur: 6, Inpaint area: Only masked, Masked area padding: 32"
    )
    recipe = manifest_of(masked, 2)["recipe"]
    assert isinstance(recipe, dict)
    assert parse_recipe(recipe) == masked.only(2)


def test_engines_are_the_same_only_if_all_of_them_is() -> None:
    first = manifest_of(RECIPE, 0)
    assert same_engine(first, manifest_of(RECIPE, 1))
    assert not same_engine(first, {**first, "engine": {**ENGINE, "threads": 2}})
