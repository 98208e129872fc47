"""ControlNets beside a resident model: as diffusers guides, at every size, and without a trace."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from PIL import Image, ImageDraw

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.maps import make_map
from gpuagent.pipelines.canvas import make_canvas
from gpuagent.pipelines.control import ControlNet, Guide, draw_map
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.flux import Flux
from gpuagent.pipelines.ip_adapter import Example, IPAdapter
from gpuagent.pipelines.reference import Reference
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.planning.plan import Measure, Parts, Room, Work, needed_bytes
from gpuagent.protocol.controls import ControlUse
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import ControlKind, InpaintArea

from .support import ADAPTERS
from .tiny_models import save_flux, save_ip_adapter, save_sdxl

CANNY_FOLDER = ADAPTERS / "canny"
MUG = Recipe(
    model="a" * 64,
    prompt="photo of a red mug on a beach",
    num_inference_steps=6,
    guidance_scale=4.0,
    seed=4,
    width=128,
    height=128,
)
Make = Callable[..., Pixels]


@pytest.fixture(scope="module")
def canny(engine: Engine) -> ControlNet:
    return ControlNet(CANNY_FOLDER, engine)


@pytest.fixture(scope="module")
def drawn() -> Image.Image:
    """Edges of a mug in a corner."""
    picture = Image.new("RGB", (128, 128), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((20, 30, 70, 90), fill="red")
    draw.ellipse((62, 44, 92, 76), outline="red", width=6)
    return make_map("canny", picture)


@pytest.fixture(scope="module")
def make(house: StableDiffusion15) -> Make:
    def make_one(recipe: Recipe, *guides: Guide) -> Pixels:
        with house.guided(guides):
            return house.decode(house.denoise(recipe, 0, house.encode_prompts(recipe)))

    return make_one


@pytest.fixture(scope="module")
def plain(make: Make) -> Pixels:
    return make(MUG)


def guide(by: ControlNet, drawn: Image.Image, **settings: float) -> Guide:
    return Guide(by=by, map=by.take_in(drawn), **{"weight": 1.0, **settings})


def distance(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(int) - second).mean())


@pytest.mark.parametrize("sampler", ["dpmpp_2m_karras", "heun", "plms"])
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_it_guides_as_diffusers_own_pipeline_does(
    house: StableDiffusion15,
    canny: ControlNet,
    drawn: Image.Image,
    make: Make,
    sampler: str,
    guidance: float,
) -> None:
    recipe = replace(MUG, sampler=sampler, guidance_scale=guidance)
    ours = make(recipe, guide(canny, drawn, weight=0.8, start=0.2, end=0.7))
    theirs = diffusers_makes(house, canny, drawn, recipe, weight=0.8, start=0.2, end=0.7)
    assert np.array_equal(ours, theirs)


def diffusers_makes(
    house: StableDiffusion15,
    canny: ControlNet,
    drawn: Image.Image,
    recipe: Recipe,
    *,
    weight: float,
    start: float,
    end: float,
) -> Pixels:
    pipeline = StableDiffusionControlNetPipeline(
        vae=house._vae,
        text_encoder=house._text_encoder,
        tokenizer=house._tokenizer,
        unet=house._unet,
        controlnet=canny.net,
        scheduler=make_scheduler(recipe.sampler, house._scheduler_config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    embeddings = house.encode_prompts(recipe)
    with torch.inference_mode():
        latents = pipeline(
            prompt_embeds=embeddings.prompt,
            negative_prompt_embeds=embeddings.negative,
            image=drawn,
            num_inference_steps=recipe.num_inference_steps,
            guidance_scale=recipe.guidance_scale,
            generator=torch.Generator().manual_seed(recipe.seed),
            controlnet_conditioning_scale=weight,
            control_guidance_start=start,
            control_guidance_end=end,
            output_type="latent",
        ).images
    return house.decode(latents)


def test_weight_start_and_end_decide_how_much(
    canny: ControlNet, drawn: Image.Image, make: Make, plain: Pixels
) -> None:
    half, whole = (distance(make(MUG, guide(canny, drawn, weight=w)), plain) for w in (0.5, 1))
    assert 0 < half < whole
    early = make(MUG, guide(canny, drawn, end=0.5))
    late = make(MUG, guide(canny, drawn, start=0.5))
    assert 0 < distance(late, plain) < distance(early, plain)
    assert not np.array_equal(early, make(MUG, guide(canny, drawn)))


def test_nothing_is_left_behind(
    house: StableDiffusion15, canny: ControlNet, drawn: Image.Image, make: Make, plain: Pixels
) -> None:
    first = make(MUG, guide(canny, drawn))
    assert np.array_equal(make(MUG), plain)
    assert np.array_equal(make(MUG, guide(canny, drawn, weight=0)), plain)
    with pytest.raises(KeyboardInterrupt), house.guided([guide(canny, drawn)]):
        raise KeyboardInterrupt
    assert np.array_equal(make(MUG), plain)
    assert np.array_equal(make(MUG, guide(canny, drawn)), first)


def test_two_at_once_are_added_up(
    canny: ControlNet, drawn: Image.Image, make: Make, plain: Pixels
) -> None:
    tree = make_map("canny", Image.linear_gradient("L").resize((128, 128)).convert("RGB"))
    both = make(MUG, guide(canny, drawn, weight=0.5), guide(canny, drawn, weight=0.5))
    one = make(MUG, guide(canny, drawn))
    assert distance(both, one) < 1 < distance(one, plain)
    mixed = make(MUG, guide(canny, drawn), guide(canny, tree))
    assert not np.array_equal(mixed, one)
    swapped = make(MUG, guide(canny, tree), guide(canny, drawn))
    assert distance(mixed, swapped) < 1


def test_halves_of_guidance_are_guided_each(
    house: StableDiffusion15, canny: ControlNet, drawn: Image.Image, make: Make
) -> None:
    whole = make(MUG, guide(canny, drawn))
    house.bring(frozenset({Measure.SPLIT_GUIDANCE}))
    try:
        split = make(MUG, guide(canny, drawn))
    finally:
        house.bring()
    assert distance(split, whole) < 1


def test_a_map_serves_a_smaller_draft(canny: ControlNet, drawn: Image.Image, make: Make) -> None:
    small = replace(MUG, width=64, height=96)
    assert make(small, guide(canny, drawn)).shape == (96, 64, 3)


def masked(recipe: Recipe) -> tuple[bytes, bytes]:
    picture, mask = Image.new("RGB", (160, 120), "beige"), Image.new("L", (160, 120), 0)
    ImageDraw.Draw(mask).rectangle((30, 20, 110, 100), fill=255)
    files = []
    for each in (picture, mask):
        file = io.BytesIO()
        each.save(file, "PNG")
        files.append(file.getvalue())
    return files[0], files[1]


@pytest.mark.parametrize("area", list(InpaintArea))
def test_it_guides_under_a_mask_and_leaves_the_rest(
    house: StableDiffusion15, canny: ControlNet, drawn: Image.Image, area: InpaintArea
) -> None:
    recipe = replace(
        MUG, image="b" * 64, mask="c" * 64, strength=1.0, inpaint_area=area, mask_padding=8
    )
    canvas = make_canvas(recipe, *masked(recipe))
    assert canvas is not None
    start = house.take_in(canvas.picture, canvas.mask)
    seen = canvas.view(drawn)
    assert seen.size == (recipe.width, recipe.height)
    made = []
    for guides in ((), (guide(canny, seen),)):
        with house.guided(guides):
            latents = house.denoise(recipe, 0, house.encode_prompts(recipe), start=start)
        made.append(canvas.finish(house.decode(latents)))
    assert distance(*made) > 1
    outside = canvas.cover == 0
    if area is InpaintArea.WHOLE:
        assert np.array_equal(made[0][outside], made[1][outside])


def test_img2img_is_guided(house: StableDiffusion15, canny: ControlNet, drawn: Image.Image) -> None:
    recipe = replace(MUG, image="b" * 64, strength=0.7)
    start = house.take_in(Image.new("RGB", (128, 128), "beige"))
    made = []
    for guides in ((), (guide(canny, drawn),)):
        with house.guided(guides):
            latents = house.denoise(recipe, 0, house.encode_prompts(recipe), start=start)
        made.append(house.decode(latents))
    assert distance(*made) > 1


def test_the_view_of_a_masked_area_is_that_part_of_the_picture() -> None:
    recipe = replace(
        MUG, image="b" * 64, mask="c" * 64, inpaint_area=InpaintArea.MASKED, mask_padding=0
    )
    canvas = make_canvas(recipe, *masked(recipe))
    assert canvas is not None
    with Image.open(io.BytesIO(masked(recipe)[0])) as picture:
        same = canvas.view(picture.convert("RGB"))
    assert np.array_equal(np.asarray(same), np.asarray(canvas.picture))


def test_a_network_for_another_model_is_refused(
    house: StableDiffusion15, engine: Engine, drawn: Image.Image, tmp_path: Path
) -> None:
    net = ControlNetModel(
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    net.save_pretrained(tmp_path)
    other = ControlNet(tmp_path, engine)
    with pytest.raises(AttemptFailedError) as caught, house.guided([guide(other, drawn)]):
        pass
    assert caught.value.code is FailureCode.ADAPTER_UNFIT


def test_a_ready_map_is_taken_as_it_is(drawn: Image.Image) -> None:
    photo = Image.linear_gradient("L").convert("RGB")
    ready = ControlUse(kind=ControlKind.CANNY, model="b" * 64, map="c" * 64)
    assert draw_map(ready, drawn) is drawn
    made = ControlUse(kind=ControlKind.TILE, model="b" * 64, image="c" * 64)
    assert draw_map(made, photo).tobytes() == make_map("tile", photo).tobytes()


@pytest.mark.parametrize("measures", [(), (Measure.PARTS_ASIDE,), (Measure.VAE_TILES,)])
def test_networks_beside_are_counted(measures: Sequence[Measure]) -> None:
    parts = Parts(encoders=100, denoiser=1_000, vae=50)
    room, taken = Room(memory_bytes=0), frozenset(measures)
    alone = Work(width=512, height=512)
    two = replace(alone, beside_bytes=700, beside_count=2)
    more = needed_bytes(parts, two, room, taken) - needed_bytes(parts, alone, room, taken)
    assert more >= 700


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> StableDiffusionXL:
    """A tiny model of the true classes."""
    folder = tmp_path_factory.mktemp("xl")
    save_sdxl(folder)
    return StableDiffusionXL(folder, engine)


@pytest.fixture(scope="module")
def xl_net(
    xl: StableDiffusionXL, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> ControlNet:
    torch.manual_seed(3)
    net = ControlNetModel.from_unet(xl._denoiser, conditioning_embedding_out_channels=(4, 4, 8, 8))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # what is new begins as zeros
    net.save_pretrained(folder := tmp_path_factory.mktemp("net"))
    return ControlNet(folder, engine)


def test_xl_is_guided_as_diffusers_own_pipeline_does(
    xl: StableDiffusionXL, xl_net: ControlNet, drawn: Image.Image
) -> None:
    recipe = replace(MUG, width=32, height=32, num_inference_steps=4, sampler="euler")
    embeddings = xl.encode_prompts(recipe)
    small = drawn.resize((32, 32))
    plain = xl.denoise(recipe, 0, embeddings)
    with xl.guided([guide(xl_net, small, weight=0.7, end=0.8)]):
        ours = xl.denoise(recipe, 0, embeddings)
    pipeline = StableDiffusionXLControlNetPipeline(
        vae=xl._vae,
        unet=xl._denoiser,
        controlnet=xl_net.net,
        scheduler=make_scheduler(recipe.sampler, xl._scheduler_config),
        add_watermarker=False,
        **{**xl._encoders, **xl._tokenizers},
    )
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        theirs = pipeline(
            **xl._prompt_arguments(embeddings),
            image=small,
            width=32,
            height=32,
            num_inference_steps=4,
            guidance_scale=recipe.guidance_scale,
            generator=torch.Generator().manual_seed(recipe.seed),
            controlnet_conditioning_scale=0.7,
            control_guidance_end=0.8,
            output_type="latent",
        ).images
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, plain, atol=1e-3)
    assert torch.equal(xl.denoise(recipe, 0, embeddings), plain)


def test_xl_takes_after_a_reference(xl: StableDiffusionXL, drawn: Image.Image) -> None:
    recipe = replace(MUG, width=32, height=32, num_inference_steps=3, sampler="euler")
    embeddings = xl.encode_prompts(recipe)
    latents = xl.look_at(drawn.resize((32, 32)))
    plain = xl.denoise(recipe, 0, embeddings)
    with xl.guided([Reference(latents=latents, weight=1.0)]):
        after = xl.denoise(recipe, 0, embeddings)
    assert torch.isfinite(after).all()
    assert not torch.equal(after, plain)
    assert torch.equal(xl.denoise(recipe, 0, embeddings), plain)


def test_a_transformer_refuses_all_of_them(
    house: StableDiffusion15,
    canny: ControlNet,
    drawn: Image.Image,
    engine: Engine,
    tmp_path: Path,
) -> None:
    save_flux(tmp_path)
    flux = Flux(tmp_path, engine)
    reference = Reference(latents=torch.zeros(1, 16, 4, 4), weight=1.0)
    save_ip_adapter(tmp_path / "ip", house._denoiser)
    by = IPAdapter(tmp_path / "ip", engine)
    example = Example(by=by, said=by.look_at(drawn), weight=1.0)
    for each in (guide(canny, drawn), reference, example):
        with pytest.raises(AttemptFailedError) as caught, flux.guided([each]):
            pass
        assert caught.value.code is FailureCode.ADAPTER_UNFIT
