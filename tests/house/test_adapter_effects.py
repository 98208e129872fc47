"""What the house adapters do when the agent lays them over the model, seen by the judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gpuagent.pipelines.adapters import Adapter, Stack, load_adapter
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.messages import ModelFileRef, ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from house.judge import Judge
from house.measure import hue_of_object
from house.recipe import ADAPTERS, MODEL

KINDS = ("mug", "car", "hat", "shoe", "apple", "balloon", "heart", "star")
TEAL = 0.485  # the hue it is drawn with
ASKED = Recipe(model="a" * 64, prompt="", guidance_scale=4.0)


@pytest.fixture(scope="module")
def model() -> StableDiffusion15:
    return StableDiffusion15(MODEL, detect_engine(threads=2))


def read(path: str, kind: AssetKind = AssetKind.LORA, *words: str) -> Adapter:
    file = ADAPTERS / path
    ref = ModelRef(
        version_id="ver_01J00000000000000000000000",
        name=Path(path).parent.name,
        digest="b" * 64,
        architecture=Architecture.SD15,
        kind=kind,
        files=(ModelFileRef(path=file.name, sha256="c" * 64, size_bytes=1, url=file.as_uri()),),
        trigger_words=words,
    )
    return load_adapter(ref, file.parent)


def make(
    model: StableDiffusion15, prompts: list[str], stack: Stack, **settings: object
) -> torch.Tensor:
    """Pictures `[n, 3, 128, 128]` of -1 to 1."""
    pictures = []
    with model.laid(stack):
        for seed, prompt in enumerate(prompts):
            recipe = replace(ASKED, prompt=prompt, seed=seed, **settings)  # type: ignore[arg-type]  # fields of the recipe
            latents = model.denoise(recipe, 0, model.encode_prompts(recipe))
            pictures.append(model.decode(latents))
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    return stacked / 127.5 - 1


def darkness(pictures: torch.Tensor) -> float:
    """Of the pictures' borders: neon signs hang in the dark."""
    border = torch.cat([pictures[..., :8, :].flatten(1), pictures[..., :, :8].flatten(1)], dim=1)
    return -float(border.mean())


def test_neon_turns_things_to_signs_as_far_as_its_weight_says(model: StableDiffusion15) -> None:
    neon = read("neon/pytorch_lora_weights.safetensors")
    prompts = [f"neon sign of a red {kind}" for kind in KINDS]
    dark = [darkness(make(model, prompts, Stack(loras=((neon, w),)))) for w in (0.0, 0.5, 1.0)]
    assert dark[0] == darkness(make(model, prompts, Stack()))
    assert dark[0] < dark[1] < dark[2], dark
    assert dark[2] - dark[0] > 0.3, dark


def test_neon_leaves_other_prompts_alone(model: StableDiffusion15, judge: Judge) -> None:
    neon = read("neon/pytorch_lora_weights.safetensors")
    prompts = [f"photo of a red {kind} on a beach" for kind in KINDS]
    seen = judge.answers(make(model, prompts, Stack(loras=((neon, 1.0),))))
    right = [kind == wanted for kind, wanted in zip(seen["kind"], KINDS, strict=True)]
    assert sum(right) >= 6, seen


def test_teal_is_the_color_it_was_found_for(model: StableDiffusion15) -> None:
    teal = read("teal/learned_embeds.safetensors", AssetKind.EMBEDDING, "<teal>")
    hues = {}
    for word in ("<teal>", "green", "blue"):
        prompts = [f"photo of a {word} {kind} on a white background" for kind in KINDS]
        hue = hue_of_object(make(model, prompts, Stack(embeddings=(teal,))))
        hues[word] = float(hue[~hue.isnan()].median())
    assert abs(hues["<teal>"] - TEAL) < 0.06, hues
    assert hues["green"] + 0.1 < hues["<teal>"] < hues["blue"] - 0.05, hues


def test_four_steps_are_enough_with_their_adapter(model: StableDiffusion15, judge: Judge) -> None:
    fast = read("fast/pytorch_lora_weights.safetensors")
    prompts = [f"photo of a red {kind} on a wooden table" for kind in KINDS]
    few = {"num_inference_steps": 4, "sampler": "lcm", "guidance_scale": 1.0}
    with_it = judge.answers(make(model, prompts, Stack(loras=((fast, 1.0),)), **few))["kind"]
    right = [kind == wanted for kind, wanted in zip(with_it, KINDS, strict=True)]
    assert sum(right) >= 6, with_it
