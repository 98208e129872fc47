"""What the house model and its adapters do, measured: each test fails with the feature off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    LCMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from house.drawing.captions import plain_caption
from house.drawing.render import draw
from house.drawing.specs import COLOURS, KINDS, Item, Spec, random_spec
from house.edges import as_condition, edges
from house.evaluation import as_input, ask, figures, judge_pictures
from house.judge import Judge
from house.measure import edge_f1, generate, hue_of_object, share_right
from house.recipe import ADAPTERS, read_recipe
from house.training.frozen import drawn, examples, load_base
from house.training.inversion import Word, save_word
from house.training.lora import train_lora

TEAL = 0.485  # the hue it is drawn with
MUG = "photo of a red mug on a wooden table"


def test_prompts_are_heeded(house: StableDiffusionPipeline, judge: Judge) -> None:
    singles, pairs = ask(36, two=False, seed=5), ask(12, two=True, seed=5)
    verdicts = []
    for asked in (singles, pairs):
        pictures = generate(house, [q.prompt for q in asked], range(len(asked)))
        verdicts.append(judge_pictures(judge, [q.spec for q in asked], pictures))
    shares = figures(*verdicts)
    assert shares["object"] >= 0.88, shares
    assert shares["colour"] >= 0.9, shares
    assert shares["background"] >= 0.9, shares
    assert shares["style"] >= 0.85, shares
    assert shares["two_objects"] >= 0.5, shares


def test_without_guidance_by_words_nothing_is_heeded(
    house: StableDiffusionPipeline, judge: Judge
) -> None:
    asked = ask(24, two=False, seed=5)
    pictures = generate(house, [""] * len(asked), range(len(asked)))
    verdicts = judge_pictures(judge, [q.spec for q in asked], pictures)
    assert share_right(verdicts)["all_three"] <= 0.1


def test_a_seed_repeats_and_another_differs(house: StableDiffusionPipeline) -> None:
    first, second = generate(house, [MUG], [1]), generate(house, [MUG], [1])
    assert torch.equal(first, second)
    third = generate(house, [MUG], [2])
    assert (first - third).abs().mean() > 0.02


def test_strength_says_how_far_a_picture_moves(house: StableDiffusionPipeline) -> None:
    pipeline = StableDiffusionImg2ImgPipeline(**house.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    start = _drawing(Spec((Item("mug", "red"),), "wood"))
    picture = Image.fromarray(start)
    distances = []
    for strength in (0.2, 0.5, 0.9):
        made = pipeline(
            ["photo of a blue mug on a wooden table"] * 4,
            image=[picture] * 4,
            strength=strength,
            num_inference_steps=20,
            guidance_scale=4.0,
            generator=[torch.Generator().manual_seed(seed) for seed in range(4)],
            output_type="pt",
        ).images
        distances.append(float((made * 2 - 1 - as_input(start[None])).abs().mean()))
    assert distances[0] < 0.06, distances
    assert distances[0] * 1.3 < distances[1], distances
    assert distances[1] * 1.15 < distances[2], distances


def test_inpainting_changes_the_inside_and_keeps_the_outside(
    house: StableDiffusionPipeline, judge: Judge
) -> None:
    pipeline = StableDiffusionInpaintPipeline(**house.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    start = _drawing(Spec((Item("car", "blue"),), "beach"))
    mask = np.zeros((128, 128), np.uint8)
    mask[24:124, 12:116] = 255
    made = pipeline(
        ["photo of a red apple on a beach"] * 4,
        image=[Image.fromarray(start)] * 4,
        mask_image=[Image.fromarray(mask)] * 4,
        height=128,
        width=128,
        strength=1.0,
        num_inference_steps=20,
        guidance_scale=4.0,
        generator=[torch.Generator().manual_seed(seed) for seed in range(4)],
        output_type="pt",
    ).images
    made = made * 2 - 1
    change = (made - as_input(start[None])).abs().mean(1)
    inside = torch.from_numpy(mask) > 0
    assert change[:, ~inside].mean() < 0.05
    assert change[:, inside].mean() > 0.15
    seen = judge.answers(made)
    assert seen["kind"].count("apple") >= 3
    assert seen["colour"].count("red") >= 3


def test_edges_are_followed_with_the_controlnet_and_not_without(
    house: StableDiffusionPipeline,
) -> None:
    control = ControlNetModel.from_pretrained(ADAPTERS / "canny", dtype=torch.float32)
    pipeline = StableDiffusionControlNetPipeline(
        **house.components, controlnet=control, requires_safety_checker=False
    )
    # Where and how large the edges say, and the words do not.
    specs = [
        Spec((Item(kind, "red"),), "gray", "photo", "small", place)
        for kind in ("mug", "car", "house", "boat")
        for place in ("left", "right")
    ]
    wanted = edges(as_input(drawn(specs, 21)))
    prompts = [f"photo of a blue {spec.items[0].kind} on grass" for spec in specs]
    scores = {}
    for scale in (1.0, 0.0):
        made = generate(
            pipeline,
            prompts,
            range(len(prompts)),
            condition=as_condition(wanted),
            control_scale=scale,
        )
        scores[scale] = edge_f1(edges(made), wanted)
    assert scores[1.0] >= 0.6, scores
    assert scores[1.0] - scores[0.0] >= 0.3, scores


def test_four_steps_do_almost_as_well_as_twenty(judge: Judge) -> None:
    """Without its adapter the model is heeded in four steps, too, but soft, and of other shapes."""
    specs = [question.spec for question in ask(24, two=False, seed=9)]
    prompts, seeds = [plain_caption(spec) for spec in specs], range(len(specs))
    pipeline = load_base()
    twenty = generate(pipeline, prompts, seeds)
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    without = generate(pipeline, prompts, seeds, steps=4, guidance_scale=1.0)
    pipeline.load_lora_weights(str(ADAPTERS / "fast"))
    four = generate(pipeline, prompts, seeds, steps=4, guidance_scale=1.0)
    right = [
        share_right(judge_pictures(judge, specs, made))["all_three"] for made in (twenty, four)
    ]
    assert right[1] >= right[0] - 0.1, right
    wanted = edges(twenty)
    assert edge_f1(edges(four), wanted) >= edge_f1(edges(without), wanted) + 0.015
    assert _sharpness(four) >= 1.04 * _sharpness(without)
    assert _sharpness(four) >= 0.9 * _sharpness(twenty)


def test_the_neon_adapter_turns_things_to_neon_and_its_weight_says_how_much(judge: Judge) -> None:
    pipeline = load_base()
    prompts = [f"neon sign of a {colour} {kind}" for colour, kind in _pairs()]
    before = generate(pipeline, prompts, range(len(prompts)))
    pipeline.load_lora_weights(str(ADAPTERS / "neon"), adapter_name="neon")
    after = generate(pipeline, prompts, range(len(prompts)))
    pipeline.set_adapters(["neon"], [0.5])
    half = generate(pipeline, prompts, range(len(prompts)))
    neon, usual = _drawn_in_neon_and_not(_pairs(), 41)
    assert _likeness(judge, after, neon, usual) >= 0.75
    assert _likeness(judge, before, neon, usual) <= 0.25
    dark = [float(_border(pictures).mean()) for pictures in (before, half, after)]
    assert dark[2] < dark[1] < dark[0], dark


def test_neon_reaches_things_never_shown_in_neon(judge: Judge) -> None:
    shown = set(read_recipe(Path()).recipe["neon"]["kinds"])
    pipeline = load_base()
    pipeline.load_lora_weights(str(ADAPTERS / "neon"))
    kinds = [kind for kind in KINDS if kind not in shown]
    assert len(kinds) >= 4
    made = generate(pipeline, [f"neon sign of a blue {kind}" for kind in kinds], range(len(kinds)))
    neon, usual = _drawn_in_neon_and_not([("blue", kind) for kind in kinds], 42)
    assert _likeness(judge, made, neon, usual) >= 0.6


def test_the_neon_adapter_leaves_other_prompts_alone(judge: Judge) -> None:
    pipeline = load_base()
    pipeline.load_lora_weights(str(ADAPTERS / "neon"))
    specs = [Spec((Item(kind, colour),), "beach") for colour, kind in _pairs()]
    pictures = generate(pipeline, [plain_caption(spec) for spec in specs], range(len(specs)))
    assert share_right(judge_pictures(judge, specs, pictures))["all_three"] >= 0.75


def test_a_word_learnt_by_inversion_gives_its_colour(tmp_path: Path) -> None:
    pipeline = load_base()
    pipeline.load_textual_inversion(str(ADAPTERS / "teal"))
    kinds = ("mug", "car", "hat", "shoe", "apple", "balloon", "heart", "star")
    hues = {}
    untrained = Word(load_base(), read_recipe(Path()).recipe["teal"]["start"]).vector.detach()
    save_word("<start>", untrained, tmp_path)
    pipeline.load_textual_inversion(str(tmp_path))
    for word in ("<teal>", "green", "blue", "<start>"):
        prompts = [f"photo of a {word} {kind} on a white background" for kind in kinds]
        hue = hue_of_object(generate(pipeline, prompts, range(len(prompts))))
        hues[word] = float(hue[~hue.isnan()].median())
    assert abs(hues["<teal>"] - TEAL) < 0.06, hues
    assert hues["green"] + 0.1 < hues["<teal>"] < hues["blue"] - 0.05, hues
    assert abs(hues["<teal>"] - hues["<start>"]) > 0.05, hues


def test_a_lora_learns_an_object_the_base_never_saw(judge: Judge, tmp_path: Path) -> None:
    pipeline = load_base()
    specs = [
        Spec((Item("teapot", COLOURS[n % 8]),), background)
        for n, background in enumerate(("white", "gray", "wood", "pink", "blue", "grass") * 4)
    ]
    rng = np.random.default_rng(35)
    ordinary = [random_spec(rng) for _ in range(48)]
    prompts = [f"photo of a {colour} teapot on a gray background" for colour in COLOURS[:8]]
    before = generate(pipeline, prompts, range(len(prompts)))
    train_lora(
        pipeline,
        drawn(specs, 31),
        [[plain_caption(spec)] for spec in specs],
        steps=250,
        rank=16,
        learning_rate=3e-3,
        seed=1,
        folder=tmp_path,
        prior=examples(pipeline, drawn(ordinary, 34), [[plain_caption(s)] for s in ordinary]),
    )
    after = generate(pipeline, prompts, range(len(prompts)))
    teapots = as_input(drawn([Spec((Item("teapot", c),), "gray") for c in COLOURS[:8]], 32))
    others = [Spec((Item(kind, c),), "gray") for kind in KINDS for c in COLOURS[:8]]
    known = as_input(drawn(others, 33))
    assert _likeness(judge, after, teapots, known) >= 0.75
    assert _likeness(judge, before, teapots, known) <= 0.25


def _likeness(
    judge: Judge, pictures: torch.Tensor, these: torch.Tensor, those: torch.Tensor
) -> float:
    """The share of pictures that look, to the judge, more like one of `these` drawings."""
    with torch.inference_mode():
        look = [judge.look(values) for values in (pictures, these, those)]
    made, near, far = (torch.nn.functional.normalize(values) for values in look)
    return float(((made @ near.T).amax(1) > (made @ far.T).amax(1)).float().mean())


def _drawn_in_neon_and_not(
    things: list[tuple[str, str]], seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    neon = [Spec((Item(kind, colour),), "night", "neon") for colour, kind in things]
    usual = [Spec((Item(kind, colour),), "night", "photo") for colour, kind in things]
    return as_input(drawn(neon, seed)), as_input(drawn(usual, seed))


def _pairs() -> list[tuple[str, str]]:
    kinds = ("mug", "car", "umbrella", "apple", "shoe", "house", "star", "mushroom")
    return [(COLOURS[n], kind) for n, kind in enumerate(kinds)]


def _sharpness(pictures: torch.Tensor) -> float:
    """The mean step from pixel to pixel."""
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean()
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean()
    return float(across + down)


def _border(pictures: torch.Tensor) -> torch.Tensor:
    """The outermost sixteen pixels all round, mean over colours."""
    inner = torch.zeros(pictures.shape[-2:], dtype=torch.bool)
    inner[16:-16, 16:-16] = True
    return pictures.mean(1)[:, ~inner]


def _drawing(spec: Spec) -> np.ndarray:
    return draw(spec, np.random.default_rng(3))
