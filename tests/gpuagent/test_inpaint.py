"""Pictures of the house model, and of a tiny one for inpainting, under a mask."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from gpuagent.pipelines.canvas import make_canvas
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.inpaint import LatentMask, latent_values
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.steps import Watch
from gpuagent.planning.plan import Measure
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS

from .support import HOUSE
from .test_tiny_true_classes import save_tiny

PLAIN = Recipe(model="a" * 64, prompt="a red mug on a table", num_inference_steps=8, seed=3)
INPAINT = replace(
    PLAIN,
    prompt="a blue mug on a table",
    image="b" * 64,
    mask="c" * 64,
    mask_blur=0,
    strength=1.0,
    seed=11,
)
Make = Callable[..., Pixels]


def png(picture: Pixels | Image.Image) -> bytes:
    file = io.BytesIO()
    opened = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    opened.save(file, "PNG")
    return file.getvalue()


def round_mask(level: int = 255) -> Image.Image:
    mask = Image.new("L", (128, 128))
    ImageDraw.Draw(mask).ellipse((24, 24, 103, 103), fill=level)
    return mask


@pytest.fixture(scope="module")
def make(house: StableDiffusion15) -> Make:
    """Make one picture of a recipe, as the agent does."""

    def make_one(
        recipe: Recipe,
        source: Pixels | None = None,
        mask: Image.Image | None = None,
        *,
        index: int = 0,
        model: StableDiffusion15 = house,
        watch: Watch | None = None,
    ) -> Pixels:
        embeddings = model.encode_prompts(recipe)
        if source is None:
            return model.decode(model.denoise(recipe, index, embeddings, watch=watch))
        canvas = make_canvas(recipe, png(source), png(mask) if mask is not None else None)
        assert canvas is not None
        start = model.take_in(canvas.picture, canvas.mask)
        latents = model.denoise(recipe, index, embeddings, start=start, watch=watch)
        return canvas.finish(model.decode(latents))

    return make_one


@pytest.fixture(scope="module")
def mug(make: Make) -> Pixels:
    """The picture that is worked on."""
    return make(PLAIN)


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_under_a_mask_it_is_what_the_stock_pipeline_makes(
    make: Make, mug: Pixels, strength: float
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    stock = StableDiffusionInpaintPipeline.from_pretrained(
        HOUSE, safety_checker=None, dtype=torch.float32, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    mask = Image.new("L", (128, 128))
    mask.paste(255, (32, 40, 96, 104))  # whole latents: the stock class looks at one pixel of each
    recipe = replace(INPAINT, strength=strength)
    image = stock(
        recipe.prompt,
        image=Image.fromarray(mug),
        mask_image=mask,
        strength=strength,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(recipe.seed),
    ).images[0]
    ours = make(recipe, mug, mask)
    assert np.array_equal(ours[40:104, 32:96], np.asarray(image)[40:104, 32:96])
    assert np.array_equal(ours[:40], mug[:40])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("steps", "strength"), [(1, 0.05), (7, 0.4), (6, 1.0)])
def test_every_sampler_tells_every_step_and_ends_in_numbers(
    house: StableDiffusion15, mug: Pixels, sampler: str, steps: int, strength: float
) -> None:
    told: list[int] = []
    recipe = replace(
        INPAINT, sampler=sampler, num_inference_steps=steps, strength=strength, mask_blur=16
    )
    canvas = make_canvas(recipe, png(mug), png(round_mask()))
    assert canvas is not None
    latents = house.denoise(
        recipe,
        0,
        house.encode_prompts(recipe),
        start=house.take_in(canvas.picture, canvas.mask),
        watch=Watch(step=lambda done, _of, _peek: told.append(done)),
    )
    assert told == list(range(1, recipe.denoising_steps + 1))
    assert bool(latents.isfinite().all())
    far = torch.from_numpy(latent_values(canvas.mask, 8) == 0)[None, None].expand_as(latents)
    kept = house.take_in(canvas.picture).posterior.sample(
        torch.Generator("cpu").manual_seed(recipe.seed)
    )
    expected = kept * house._vae.config.scaling_factor
    assert torch.allclose(latents[far], expected[far], atol=1e-5)


def test_a_picture_under_a_mask_is_the_same_whatever_was_made_before(
    make: Make, mug: Pixels
) -> None:
    recipe = replace(INPAINT, mask_blur=6)
    first = make(recipe, mug, round_mask())
    make(replace(PLAIN, sampler="heun", width=64, seed=9))
    make(replace(recipe, sampler="euler_a", mask_blur=0), mug, round_mask())
    assert np.array_equal(make(recipe, mug, round_mask()), first)
    assert np.array_equal(make(PLAIN), mug)


def test_several_are_the_same_as_each_alone(make: Make, mug: Pixels) -> None:
    extend = replace(PLAIN, image="b" * 64, strength=1.0, outpaint_right=32)
    for recipe, source, mask in (
        (replace(INPAINT, num_images_per_prompt=3), mug, round_mask()),
        (replace(extend, num_images_per_prompt=3), mug[:, :96].copy(), None),
    ):
        for index in range(3):
            together = make(recipe, source, mask, index=index)
            assert np.array_equal(together, make(recipe.only(index), source, mask))


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_cancel_stops_within_one_step(make: Make, mug: Pixels, sampler: str) -> None:
    class Canceled(Exception):
        pass

    steps: list[int] = []

    def check() -> None:
        if steps and steps[-1] == 3:
            raise Canceled

    recipe = replace(INPAINT, sampler=sampler, num_inference_steps=20)
    before = make(recipe, mug, round_mask())
    watch = Watch(check=check, step=lambda done, _of, _peek: steps.append(done))
    with pytest.raises(Canceled):
        make(recipe, mug, round_mask(), watch=watch)
    assert steps == [1, 2, 3]
    assert np.array_equal(make(recipe, mug, round_mask()), before)


def test_with_every_measure_against_little_memory_what_is_kept_is_kept(
    make: Make, mug: Pixels, tmp_path: Path, engine: Engine
) -> None:
    save_tiny(tmp_path, in_channels=9)
    measures = frozenset({Measure.VAE_TILES, Measure.SPLIT_GUIDANCE, Measure.HALF_PRECISION})
    inside = np.asarray(round_mask()) > 0
    for folder in (HOUSE, tmp_path):
        model = StableDiffusion15(folder, engine, is_half=True)
        model.bring(measures)
        first, second = (make(INPAINT, mug, round_mask(), model=model) for _ in range(2))
        assert np.array_equal(first, second)
        assert not (first != mug)[~inside].any()
        assert (first != mug).any(axis=2)[inside].mean() > 0.9


def test_gray_changes_less_than_white(make: Make, mug: Pixels) -> None:
    recipe = replace(INPAINT, prompt="a green tree on grass")
    inside = np.asarray(round_mask()) > 0
    distances = [
        np.abs(make(recipe, mug, round_mask(level)).astype(int) - mug)[inside].mean()
        for level in (80, 140, 200, 255)
    ]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1] / 2


def test_a_latent_joins_in_when_its_time_has_come() -> None:
    mask = LatentMask(values=torch.tensor([[[[0.0, 0.25, 0.5, 1.0]]]]))
    assert mask.at(0.1).flatten().tolist() == [0, 0, 0, 1]
    assert mask.at(0.5).flatten().tolist() == [0, 0, 1, 1]
    assert mask.at(0.8).flatten().tolist() == [0, 1, 1, 1]
    assert mask.at(1.0).flatten().tolist() == [0, 1, 1, 1]


# ---- a U-Net that was made for inpainting: nine channels


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> StableDiffusion15:
    """A tiny one with random weights."""
    folder: Path = tmp_path_factory.mktemp("nine")
    save_tiny(folder, in_channels=9)
    return StableDiffusion15(folder, engine)


SMALL = replace(INPAINT, num_inference_steps=3, width=64, height=64)


def test_a_model_for_inpainting_makes_the_same_picture_twice(
    make: Make, nine: StableDiffusion15, mug: Pixels
) -> None:
    first, second = (make(SMALL, mug, round_mask(), model=nine) for _ in range(2))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, second)


def test_a_model_for_inpainting_is_told_what_is_kept(
    make: Make, nine: StableDiffusion15, mug: Pixels
) -> None:
    """Other surroundings, another picture inside, though noise and prompt are the same."""
    inside = np.s_[24:40, 24:40]
    on_mug, on_black = (
        make(SMALL, source, round_mask(), model=nine)[inside]
        for source in (mug, np.zeros_like(mug))
    )
    assert not np.array_equal(on_mug, on_black)
    # What the mask covers is not told: it may be anything.
    blotted = mug.copy()
    blotted[48:80, 48:80] = 255
    again = make(SMALL, blotted, round_mask(), model=nine)[inside]
    assert np.abs(again.astype(int) - on_mug).max() <= 1


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_a_model_for_inpainting_makes_what_the_stock_pipeline_makes(
    make: Make, nine: StableDiffusion15, mug: Pixels, strength: float
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    recipe = replace(SMALL, strength=strength)
    small = np.asarray(Image.fromarray(mug).resize((64, 64), Image.Resampling.LANCZOS))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    stock = StableDiffusionInpaintPipeline(
        vae=nine._vae,
        text_encoder=nine._text_encoder,
        tokenizer=nine._tokenizer,
        unet=nine._unet,
        scheduler=make_scheduler(recipe.sampler, nine._scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    kept = stock.image_processor.preprocess(Image.fromarray(small))
    kept[..., 16:48, 16:48] = 0
    with torch.inference_mode():
        # The stock class samples here; the latents of what is kept have no need of chance.
        told = nine._vae.encode(kept).latent_dist.mode() * nine._vae.config.scaling_factor
    image = stock(
        recipe.prompt,
        image=Image.fromarray(small),
        mask_image=mask,
        masked_image_latents=told,
        strength=strength,
        width=64,
        height=64,
        num_inference_steps=recipe.num_inference_steps,
        guidance_scale=recipe.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(recipe.seed),
    ).images[0]
    inside = np.s_[16:48, 16:48]
    assert np.array_equal(np.asarray(image)[inside], make(recipe, small, mask, model=nine)[inside])


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m_karras"])
def test_a_model_for_inpainting_makes_pictures_without_a_mask_too(
    make: Make, nine: StableDiffusion15, mug: Pixels, sampler: str
) -> None:
    plain = replace(PLAIN, num_inference_steps=3, width=64, height=64, sampler=sampler)
    made = make(plain, model=nine)
    assert made.shape == (64, 64, 3)
    other = replace(plain, image="b" * 64, strength=0.5)
    start = nine.take_in(Image.fromarray(mug).resize((64, 64)))
    from_picture = nine.denoise(other, 0, nine.encode_prompts(other), start=start)
    assert bool(from_picture.isfinite().all())
    nine.warm_up()


def test_shared_parts_keep_their_type(nine: StableDiffusion15, mug: Pixels, make: Make) -> None:
    make(SMALL, mug, round_mask(), model=nine)
    assert {nine._unet.dtype, nine._vae.dtype} == {torch.float32}
    assert nine._unet.config.in_channels == 9
