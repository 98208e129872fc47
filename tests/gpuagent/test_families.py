"""Each family with tiny random weights, on the true classes, through all that it can do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.adapters import Adapter, Stack
from gpuagent.pipelines.batching import Member
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.pipelines.registry import LOADERS
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.vae import Autoencoder
from gpuagent.planning.plan import Measure
from gpuagent.protocol.adapter_files import Header
from gpuagent.protocol.families import FAMILIES as RULES
from gpuagent.protocol.families import check_family
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind

from .support import FAST_FILE, adapter_ref
from .tiny_models import FAMILIES, save_sdxl, save_vae

MODES = ("txt2img", "img2img", "inpaint")
SIZE = (96, 64)
RECIPE = Recipe(
    model="a" * 64,
    prompt="a red mug on a beach",
    num_inference_steps=4,
    width=SIZE[0],
    height=SIZE[1],
    sampler="euler",
    seed=3,
    strength=0.75,
)
SD3S = ("sd3", "sd3 without T5")
FLUXES = ("flux dev", "flux schnell")


@dataclass(frozen=True)
class Tiny:
    """A model and where it lies."""

    folder: Path
    model: Family
    architecture: Architecture


@pytest.fixture(scope="module")
def tinies(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Any:  # noqa: ANN401 - a cached function
    """Makes and loads a tiny model once."""

    @cache
    def make(name: str) -> Tiny:
        architecture, save = FAMILIES[name]
        folder = tmp_path_factory.mktemp(name.replace(" ", "_"))
        save(folder)
        return Tiny(folder, LOADERS[architecture](folder, engine), architecture)

    return make


@pytest.fixture(params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tinies: Any) -> Tiny:  # noqa: ANN401 - as above
    """Each of them."""
    found = tinies(request.param)
    assert isinstance(found, Tiny)
    return found


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def soft_mask() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    mask = np.zeros((SIZE[1], SIZE[0]), np.float32)
    mask[:, 48:], mask[:, 32:48] = 1, 0.5
    return mask


def start_of(model: Family, mode: str) -> StartingPicture | None:
    if mode == "txt2img":
        return None
    return model.take_in(picture(), soft_mask() if mode == "inpaint" else None)


def sampled(model: Family) -> Any:  # noqa: ANN401 - a tensor
    """The latents of the picture as the recipe's seed draws them."""
    import torch

    posterior = model.take_in(picture()).posterior
    return model._scaled(posterior.sample(torch.Generator("cpu").manual_seed(RECIPE.seed)))


def recipe_for(mode: str, recipe: Recipe = RECIPE) -> Recipe:
    return recipe if mode == "txt2img" else replace(recipe, image="b" * 64)


def make(model: Family, mode: str, recipe: Recipe = RECIPE, **more: Any) -> Any:  # noqa: ANN401 - a tensor
    asked = recipe_for(mode, recipe)
    return model.denoise(asked, 0, model.encode_prompts(asked), start=start_of(model, mode), **more)


@pytest.mark.parametrize("mode", MODES)
def test_same_recipe_same_picture_also_after_another(tiny: Tiny, mode: str) -> None:
    # Given a picture, and all of its previews
    previews: list[Any] = []
    steps: list[tuple[int, int]] = []

    def step(done: int, of: int, peek: Any) -> None:  # noqa: ANN401 - a function
        steps.append((done, of))
        previews.append(peek())

    first = make(tiny.model, mode, watch=Watch(step=step))
    # When another is made, and then the same without looking
    other = make(tiny.model, "txt2img", replace(RECIPE, prompt="a blue car", seed=9))
    again = make(tiny.model, mode)
    # Then they are equal, each step was told once, and each preview can be shown
    assert first.equal(again)
    assert not first.equal(other)
    taken = recipe_for(mode).denoising_steps
    assert steps == [(n, taken) for n in range(1, taken + 1)]
    for preview in previews:
        assert np.isfinite(preview).all()
        assert preview.shape[1:] == (SIZE[1] // 8, SIZE[0] // 8)
        assert tiny.model.colors.pixels(preview).shape == (SIZE[1] // 8, SIZE[0] // 8, 3)
    assert tiny.model.decode(first).shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*SD3S[:1], *FLUXES])
def test_every_sampler_of_a_flow_makes_a_finite_picture_twice(
    tinies: Any,  # noqa: ANN401 - as above
    name: str,
    mode: str,
) -> None:
    model = tinies(name).model
    made = set()
    for sampler in RULES[tinies(name).architecture].samplers:
        recipe = replace(RECIPE, sampler=sampler)
        first, second = make(model, mode, recipe), make(model, mode, recipe)
        assert bool(first.isfinite().all()), sampler
        assert first.equal(second), sampler
        made.add(first.numpy().tobytes())
    assert len(made) == len(RULES[tinies(name).architecture].samplers)


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_is_what_the_plain_pipeline_of_diffusers_makes(tiny: Tiny, mode: str) -> None:
    """The same prompt, read by diffusers itself, and the same sampler, set up by diffusers."""
    import torch
    from diffusers import DiffusionPipeline

    asked = recipe_for(mode, replace(RECIPE, negative_prompt="snow"))
    if not RULES[tiny.architecture].has_negative_prompt:
        asked = recipe_for(mode)
    model = tiny.model
    plain: DiffusionPipeline = model._pipeline_class(mode)(
        **{"vae": model._vae, model.DENOISER: model._denoiser},
        scheduler=model._make_scheduler("euler", torch.Generator()),
        **model._components(mode),
    )
    plain.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(asked.seed)
    start = start_of(model, mode)
    size: dict[str, Any] = {"width": SIZE[0], "height": SIZE[1]}
    if start is not None:
        latents = model._scaled(start.posterior.sample(generator))
        size |= {"image": latents, "strength": model._strength_for(4, asked.denoising_steps)}
        if mode == "inpaint":
            size |= {"mask_image": torch.ones(1, 1, SIZE[1], SIZE[0])}
            size |= {"masked_image_latents": latents}
            start = model.take_in(picture(), np.ones((SIZE[1], SIZE[0]), np.float32))
        elif tiny.architecture is Architecture.SDXL:
            del size["width"], size["height"]
    if asked.negative_prompt:
        size["negative_prompt"] = asked.negative_prompt
    if tiny.architecture is Architecture.FLUX:
        size["max_sequence_length"] = 512 if model._denoiser.config.guidance_embeds else 256
    with torch.inference_mode():
        expected = plain(
            prompt=asked.prompt,
            num_inference_steps=4,
            guidance_scale=asked.guidance_scale,
            generator=generator,
            output_type="latent",
            **size,
        ).images
    made = model.denoise(asked, 0, model.encode_prompts(asked), start=start)
    assert made.equal(model._unpacked(expected, asked))


def test_strength_decides_how_much_of_the_starting_picture_is_left(tiny: Tiny) -> None:
    before = sampled(tiny.model)
    asked = [replace(RECIPE, guidance_scale=1.0, strength=strength) for strength in (0.25, 1.0)]
    off = [float((make(tiny.model, "img2img", each) - before).abs().mean()) for each in asked]
    assert off[0] < off[1]


def test_what_the_mask_leaves_out_keeps_its_latents(tiny: Tiny) -> None:
    import torch

    before = sampled(tiny.model)
    made = make(tiny.model, "inpaint")
    assert torch.allclose(made[..., :4], before[..., :4], atol=1e-5)
    assert not torch.allclose(made[..., 6:], before[..., 6:], atol=1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_cancel_stops_within_one_step_and_leaves_nothing(tiny: Tiny, mode: str) -> None:
    before = make(tiny.model, mode)
    calls = []

    class StopError(Exception):
        pass

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise StopError

    with pytest.raises(StopError):
        make(tiny.model, mode, watch=Watch(check=check))
    assert len(calls) == 2
    assert make(tiny.model, mode).equal(before)


def test_a_long_prompt_is_read_to_its_end(tiny: Tiny) -> None:
    long = replace(RECIPE, prompt="very " * 600 + "red")
    other = replace(long, prompt="very " * 600 + "blue")
    first, second = (tiny.model.encode_prompts(each) for each in (long, other))
    assert first.prompt.shape == second.prompt.shape
    assert not first.prompt.equal(second.prompt)
    assert first.prompt.shape == first.negative.shape
    assert bool(make(tiny.model, "txt2img", replace(long, num_inference_steps=1)).isfinite().all())


def test_a_weight_changes_its_words_and_one_changes_nothing(tiny: Tiny) -> None:
    plain, heavy, light = (
        tiny.model.encode_prompts(replace(RECIPE, prompt=f"a {word} mug"))
        for word in ("red", "(red:2)", "(red:0.5)")
    )
    distances = [float((each.prompt - plain.prompt).abs().sum()) for each in (heavy, light)]
    assert distances[0] > distances[1] > 0
    same = tiny.model.encode_prompts(replace(RECIPE, prompt="a (red:1) mug"))
    assert same.prompt.equal(plain.prompt)


def test_guidance_in_halves_is_nearly_the_same(tiny: Tiny) -> None:
    whole = make(tiny.model, "txt2img")
    tiny.model.bring(frozenset({Measure.SPLIT_GUIDANCE}))
    try:
        halves = make(tiny.model, "txt2img")
    finally:
        tiny.model.bring()
    assert float((whole - halves).abs().max()) < 1e-3


def test_half_precision_makes_a_finite_picture(tiny: Tiny, engine: Engine) -> None:
    half = LOADERS[tiny.architecture](tiny.folder, engine, is_half=True)
    assert half.is_half
    assert half.weights_bytes < 0.6 * tiny.model.weights_bytes
    for mode in MODES:
        assert bool(make(half, mode).isfinite().all())


def test_parts_are_counted_as_they_are_loaded(tiny: Tiny, engine: Engine) -> None:
    from gpuagent.pipelines.registry import measure_parts

    parts, loaded = measure_parts(tiny.folder, engine), tiny.model.part_bytes
    encoders = sum(size for name, size in loaded.items() if name.startswith("text_encoder"))
    # Buffers are loaded, but not in the files.
    assert parts.encoders == pytest.approx(encoders, rel=0.02)
    assert parts.denoiser == pytest.approx(loaded[tiny.model.DENOISER], rel=0.02)
    assert parts.vae == pytest.approx(loaded["vae"], rel=0.02)


@contextmanager
def lora(model: Family, part: str, module: str, weight: float = 4.0) -> Iterator[None]:
    """A random LoRA of one layer, named as diffusers writes it."""
    import torch

    shape = model._laying._bases[part][module]
    generator = torch.Generator().manual_seed(5)
    tensors = {
        f"{part}.{module}.lora_A.weight": torch.randn(2, shape[1], generator=generator),
        f"{part}.{module}.lora_B.weight": torch.randn(shape[0], 2, generator=generator),
    }
    header = Header(shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()})
    ref = adapter_ref(FAST_FILE, AssetKind.LORA)
    adapter = Adapter(ref=ref, header=header, tensors=tensors)
    with model.laid(Stack(loras=((adapter, weight),))):
        yield


@pytest.mark.parametrize(
    ("name", "part", "module"),
    [
        ("sdxl", "unet", "mid_block.attentions.0.transformer_blocks.1.attn2.to_k"),
        ("sdxl", "text_encoder_2", "encoder.layers.1.self_attn.q_proj"),
        ("sd3", "transformer", "transformer_blocks.0.attn.to_q"),
        ("sd3", "text_encoder_2", "encoder.layers.0.mlp.fc1"),
        ("flux dev", "transformer", "single_transformer_blocks.0.attn.to_v"),
        ("flux schnell", "transformer", "transformer_blocks.0.attn.add_k_proj"),
    ],
)
def test_a_lora_changes_the_picture_and_leaves_no_trace(
    tinies: Any,  # noqa: ANN401 - as above
    name: str,
    part: str,
    module: str,
) -> None:
    model = tinies(name).model
    before = make(model, "txt2img")
    with lora(model, part, module):
        during = make(model, "txt2img")
    assert not during.equal(before)
    assert make(model, "txt2img").equal(before)


def test_a_sampler_that_follows_no_flow_is_refused_by_the_model_too(tinies: Any) -> None:  # noqa: ANN401 - as above
    with pytest.raises(AttemptFailedError):
        make(tinies("sd3").model, "txt2img", replace(RECIPE, sampler="euler_a"))


def test_schnell_takes_no_guidance_and_dev_does(tinies: Any) -> None:  # noqa: ANN401 - as above
    same = []
    for name in FLUXES:
        model = tinies(name).model
        low, high = (
            make(model, "txt2img", replace(RECIPE, guidance_scale=scale)) for scale in (1.0, 6.0)
        )
        same.append(low.equal(high))
    assert same == [False, True]


def test_what_a_family_cannot_do_is_told_field_by_field() -> None:
    asked = replace(
        RECIPE, sampler="dpmpp_2m_karras", width=72, negative_prompt="snow", clip_skip=1
    )
    assert check_family(asked, Architecture.SDXL) == ()
    problems = {p.field: p.message for p in check_family(asked, Architecture.FLUX)}
    assert set(problems) == {"sampler", "width", "negative_prompt", "clip_skip"}
    assert "Euler" in problems["sampler"]
    assert "64 or 80" in problems["width"]
    assert {p.field for p in check_family(asked, Architecture.SD3)} == {"sampler", "width"}
    for architecture, rules in RULES.items():
        fitting = dataclasses.replace(RECIPE, sampler=rules.default_sampler)
        assert check_family(fitting, architecture) == ()


def test_a_refiner_starts_from_a_picture(tmp_path: Path, engine: Engine) -> None:
    save_sdxl(tmp_path, is_refiner=True)
    refiner = LOADERS[Architecture.SDXL](tmp_path, engine)
    assert "text_encoder" not in refiner.part_bytes
    assert bool(make(refiner, "img2img").isfinite().all())
    with pytest.raises(AttemptFailedError):
        make(refiner, "txt2img")


def test_a_unet_for_inpainting_is_told_what_is_kept(tmp_path: Path, engine: Engine) -> None:
    save_sdxl(tmp_path, in_channels=9)
    model = LOADERS[Architecture.SDXL](tmp_path, engine)
    for mode in MODES:
        assert bool(make(model, mode).isfinite().all())


def test_a_refiner_makes_the_last_steps_and_the_same_again(
    tinies: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
    engine: Engine,
) -> None:
    save_sdxl(tmp_path, is_refiner=True)
    base, refiner = tinies("sdxl").model, LOADERS[Architecture.SDXL](tmp_path, engine)
    assert isinstance(refiner, StableDiffusionXL)
    for sampler in ("euler", "euler_a", "dpmpp_2m_karras", "heun"):
        recipe = replace(RECIPE, sampler=sampler, num_inference_steps=10, refiner_start=0.6)
        steps: list[int] = []

        def step(done: int, _of: int, _peek: object, steps: list[int] = steps) -> None:
            steps.append(done)

        watch = Watch(step=step)
        made = []
        for _ in range(2):
            first = base.denoise(
                recipe, 0, base.encode_prompts(recipe), watch=watch, until=recipe.refiner_start
            )
            embeddings = refiner.encode_prompts(recipe)
            made.append(refiner.refine(recipe, 0, embeddings, first, watch=watch))
        assert made[0].equal(made[1])
        assert bool(made[0].isfinite().all())
        assert not made[0].equal(make(base, "txt2img", recipe))
        half = steps[: len(steps) // 2]
        # Karras' steps lie closer at the end: the share is one of noise, not of steps.
        assert half == list(range(1, 11)), sampler


def test_a_model_refined_by_itself_is_what_it_makes_alone(tinies: Any) -> None:  # noqa: ANN401 - as above
    model = tinies("sdxl").model
    recipe = replace(RECIPE, num_inference_steps=8, refiner_start=0.5)
    embeddings = model.encode_prompts(recipe)
    first = model.denoise(recipe, 0, embeddings, until=0.5)
    refined = model.refine(recipe, 0, embeddings, first)
    assert np.allclose(refined.numpy(), make(model, "txt2img", recipe).numpy(), atol=1e-4)


def test_another_family_finishes_alone(tinies: Any) -> None:  # noqa: ANN401 - as above
    with pytest.raises(AttemptFailedError):
        make(tinies("sd3").model, "txt2img", until=0.5)


def test_another_vae_decodes_for_a_while(
    tinies: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
    engine: Engine,
) -> None:
    import torch

    torch.manual_seed(9)
    save_vae(tmp_path / "other", channels=4, scaling_factor=0.13025)
    save_vae(tmp_path / "wrong", channels=4, scaling_factor=0.18215)
    model = tinies("sdxl").model
    other, wrong = (Autoencoder(tmp_path / name, engine) for name in ("other", "wrong"))
    latents = make(model, "txt2img")
    own, taken = model.decode(latents), model.take_in(picture()).posterior.mode()
    with model.decoding_by(other):
        assert not np.array_equal(model.decode(latents), own)
        assert not model.take_in(picture()).posterior.mode().equal(taken)
        assert make(model, "txt2img").equal(latents)
        assert bool(make(model, "img2img").isfinite().all())
    assert np.array_equal(model.decode(latents), own)
    with pytest.raises(AttemptFailedError), model.decoding_by(wrong):
        pass


BATCHED = ("sdxl", *SD3S)


def batched(tiny: Tiny, recipes: Sequence[Recipe], leaves: int | None = None) -> list[Any]:
    """Denoised together; the one that leaves does so after its second step."""
    calls = [0]

    def check() -> None:
        calls[0] += 1
        if calls[0] > 2:
            raise TimeoutError

    return tiny.model.denoise_together(
        [
            Member(
                recipe=recipe,
                embeddings=tiny.model.encode_prompts(recipe),
                watch=Watch(check=check) if place == leaves else Watch(),
            )
            for place, recipe in enumerate(recipes)
        ]
    )


@pytest.mark.parametrize(
    ("name", "leaves", "guidance", "samplers"),
    [
        ("sdxl", 1, 5.0, ()),
        ("sd3", 1, 5.0, ()),
        ("sdxl", None, 5.0, ("euler", "dpmpp_2m")),
        ("sdxl", 0, 1.0, ("euler",)),
        ("sd3", None, 1.0, ("euler",)),
        ("sd3 without T5", 2, 5.0, ("euler",)),
    ],
)
def test_pictures_of_a_batch_are_nearly_what_they_are_alone(
    name: str,
    leaves: int | None,
    guidance: float,
    samplers: tuple[str, ...],
    tinies: Any,  # noqa: ANN401 - as above
) -> None:
    """Whoever leaves, with every sampler: each keeps its own prompts, sizes and noise."""
    tiny = tinies(name)
    for sampler in samplers or RULES[tiny.architecture].samplers:
        first = replace(RECIPE, sampler=sampler, guidance_scale=guidance)
        others = ({"prompt": "a blue car", "seed": 4}, {"negative_prompt": "snow", "seed": 5})
        recipes = [first, *(replace(first, **each) for each in others)]  # type: ignore[arg-type]  # each of its field's type
        made = batched(tiny, recipes, leaves)
        for place, (recipe, latents) in enumerate(zip(recipes, made, strict=True)):
            assert (latents is None) == (place == leaves), sampler
            if latents is not None:
                alone = make(tiny.model, "txt2img", recipe)
                assert latents.shape == alone.shape
                assert (latents - alone).abs().max() < 2e-3 * alone.abs().max(), sampler


def test_who_makes_batches_and_who_does_not(tinies: Any, tmp_path: Path, engine: Engine) -> None:  # noqa: ANN401 - as above
    assert all(tinies(name).model.can_batch for name in BATCHED)
    assert not any(tinies(name).model.can_batch for name in FLUXES)
    save_sdxl(tmp_path / "refiner", is_refiner=True)
    assert not StableDiffusionXL(tmp_path / "refiner", engine).can_batch
    save_sdxl(tmp_path / "inpainting", in_channels=9)
    assert not StableDiffusionXL(tmp_path / "inpainting", engine).can_batch
    tinies("sdxl").model.bring(frozenset({Measure.SPLIT_GUIDANCE}))
    assert not tinies("sdxl").model.can_batch
    tinies("sdxl").model.bring()
