"""IP-Adapters beside a resident model: as diffusers has them, for as long as asked, no trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.control import ControlNet, Guide
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.ip_adapter import IP_ADAPTER_NAME, Example, IPAdapter, _module_of
from gpuagent.pipelines.reference import Reference
from gpuagent.pipelines.registry import measure_parts
from gpuagent.pipelines.samplers import make_scheduler
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.planning.plan import Measure
from gpuagent.protocol.adapter_files import AdapterUnfitError, Header, layers_of, read_header
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.ip_adapter_files import check_ip_adapter, is_ip_adapter, wanted_by
from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe

from .support import ADAPTERS
from .tiny_models import save_ip_adapter, save_sdxl

MUG = Recipe(
    model="a" * 64,
    prompt="photo of a red mug on a beach",
    num_inference_steps=4,
    guidance_scale=4.0,
    seed=4,
    width=64,
    height=64,
)
Adapters = Callable[..., IPAdapter]


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> StableDiffusionXL:
    folder = tmp_path_factory.mktemp("xl")
    save_sdxl(folder)
    return StableDiffusionXL(folder, engine)


@pytest.fixture(scope="module")
def folders(
    house: StableDiffusion15, xl: StableDiffusionXL, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    made = {}
    for name, model in (("house", house), ("xl", xl)):
        for kind in ("plain", "plus"):
            folder = tmp_path_factory.mktemp("ip")
            save_ip_adapter(folder, model._denoiser, is_plus=kind == "plus")
            made[f"{name} {kind}"] = folder
    return made


@pytest.fixture(scope="module")
def adapters(folders: dict[str, Path], engine: Engine) -> dict[str, IPAdapter]:
    return {name: IPAdapter(folder, engine) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def models(house: StableDiffusion15, xl: StableDiffusionXL) -> dict[str, Family]:
    return {"house": house, "xl": xl}


@pytest.fixture(autouse=True)
def untouched(models: dict[str, Family]) -> Iterator[None]:
    """Whatever was done: every module is as it was, and nothing hangs on it."""

    def state(model: Family) -> list[object]:
        unet = model._denoiser
        own = [(name, sorted(module.__dict__)) for name, module in unet.named_modules()]
        processors = {name: id(each) for name, each in unet.attn_processors.items()}
        return [own, processors, dict(unet.config), sorted(unet.state_dict())]

    before = {name: state(model) for name, model in models.items()}
    yield
    assert {name: state(model) for name, model in models.items()} == before


def drawing(color: str = "red", size: tuple[int, int] = (90, 70)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).ellipse((20, 10, 70, 60), fill=color)
    return picture


def example(by: IPAdapter, picture: Image.Image | None = None, **settings: float) -> Example:
    said = by.look_at(picture or drawing())
    return Example(by=by, said=said, **{"weight": 0.8, **settings})


def made(model: Family, recipe: Recipe, *guides: Example | Guide | Reference) -> torch.Tensor:
    with model.guided(guides):
        return model.denoise(recipe, 0, model.encode_prompts(recipe))


def diffusers_pipeline(
    model: Family,
    folder: Path,
    recipe: Recipe,
    weights: list[float],
    kind: Any = None,  # noqa: ANN401 - no types
) -> Any:  # noqa: ANN401 - as above
    """A pipeline of its own, over copies, that loads the IP-Adapter as diffusers does."""
    is_xl = isinstance(model, StableDiffusionXL)
    parts: dict[str, Any] = dict(model._components("txt2img"))
    kind = kind or (StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline)
    unet = type(model._denoiser).from_config(dict(model._denoiser.config))
    unet.load_state_dict(model._denoiser.state_dict())
    pipeline = kind(
        **parts,
        vae=model._vae,
        unet=unet.eval().requires_grad_(False),
        scheduler=make_scheduler(recipe.sampler, model._scheduler_config),
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_ip_adapter(
        str(folder),
        subfolder="",
        weight_name=[IP_ADAPTER_NAME] * len(weights),
        low_cpu_mem_usage=False,  # else weights lie as in the file, and last bits depend on that
    )
    pipeline.set_ip_adapter_scale(weights)
    return pipeline


def diffusers_makes(
    model: Family,
    folder: Path,
    recipe: Recipe,
    pictures: list[Image.Image],
    weights: list[float],
) -> torch.Tensor:
    pipeline = diffusers_pipeline(model, folder, recipe, weights)
    embeddings = model.encode_prompts(recipe)
    with torch.inference_mode():
        latents: torch.Tensor = pipeline(
            **model._prompt_arguments(embeddings),
            ip_adapter_image=pictures,
            width=recipe.width,
            height=recipe.height,
            num_inference_steps=recipe.num_inference_steps,
            guidance_scale=recipe.guidance_scale,
            generator=torch.Generator().manual_seed(recipe.seed),
            output_type="latent",
        ).images
    return latents


@pytest.mark.parametrize("kind", ["house plain", "house plus", "xl plain", "xl plus"])
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_it_draws_as_diffusers_own_pipeline_does(
    models: dict[str, Family],
    folders: dict[str, Path],
    adapters: dict[str, IPAdapter],
    kind: str,
    guidance: float,
) -> None:
    model = models[kind.split()[0]]
    recipe = replace(MUG, guidance_scale=guidance)
    plain = made(model, recipe)
    ours = made(model, recipe, example(adapters[kind]))
    theirs = diffusers_makes(model, folders[kind], recipe, [drawing()], [0.8])
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, plain, atol=1e-2)
    assert torch.equal(made(model, recipe), plain)


def test_two_pictures_are_two_uses(
    house: StableDiffusion15, folders: dict[str, Path], adapters: dict[str, IPAdapter]
) -> None:
    by, blue = adapters["house plain"], drawing("blue", (64, 64))
    ours = made(house, MUG, example(by, weight=0.5), example(by, blue, weight=1.5))
    theirs = diffusers_makes(house, folders["house plain"], MUG, [drawing(), blue], [0.5, 1.5])
    assert torch.equal(ours, theirs)
    one = made(house, MUG, example(by, blue, weight=1.5))
    assert not torch.allclose(ours, one, atol=1e-2)


def test_weight_start_and_end_decide_how_much(
    house: StableDiffusion15, adapters: dict[str, IPAdapter]
) -> None:
    by, plain = adapters["house plus"], made(house, MUG)
    assert torch.equal(made(house, MUG, example(by, weight=0)), plain)
    shares = [example(by, end=0.5), example(by, start=0.5), example(by)]
    early, late, whole = (made(house, MUG, each) for each in shares)
    for each in (early, late, whole):
        assert not torch.allclose(each, plain, atol=1e-3)
    assert not torch.allclose(early, late, atol=1e-3)
    assert not torch.allclose(early, whole, atol=1e-3)
    # Steps that are over before it starts are those of a plain picture.
    seen: list[torch.Tensor] = []
    first = house._denoiser.register_forward_hook(lambda _m, _i, out: seen.append(out[0]))
    try:
        made(house, MUG)
        made(house, MUG, example(by, start=0.5))
    finally:
        first.remove()
    same = [torch.equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True)]
    assert same == [True, True, False, False]


def test_halves_of_guidance_see_the_same(
    house: StableDiffusion15, adapters: dict[str, IPAdapter]
) -> None:
    whole = made(house, MUG, example(adapters["house plain"]))
    house.bring(frozenset({Measure.SPLIT_GUIDANCE}))
    try:
        split = made(house, MUG, example(adapters["house plain"]))
    finally:
        house.bring()
    assert torch.allclose(split, whole, atol=1e-3)
    ended = made(house, replace(MUG, guidance_end=0.5), example(adapters["house plain"]))
    assert torch.isfinite(ended).all()
    assert not torch.allclose(ended, whole, atol=1e-3)


def test_it_works_with_control_and_plain_references(
    house: StableDiffusion15, adapters: dict[str, IPAdapter], engine: Engine
) -> None:
    net = ControlNet(ADAPTERS / "canny", engine)
    control = Guide(by=net, map=net.take_in(drawing(size=(64, 64))), weight=1.0)
    seen = Reference(latents=house.look_at(drawing(size=(64, 64))), weight=1.0)
    shown = example(adapters["house plus"])
    alone = [made(house, MUG, each) for each in (control, seen, shown)]
    together = made(house, MUG, control, seen, shown)
    assert torch.isfinite(together).all()
    for each in alone:
        assert not torch.allclose(together, each, atol=1e-2)
    assert torch.equal(made(house, MUG, control, seen, shown), together)


def test_img2img_and_a_mask_take_after_it(
    house: StableDiffusion15, folders: dict[str, Path], adapters: dict[str, IPAdapter]
) -> None:
    recipe = replace(MUG, image="b" * 64, strength=0.5, sampler="euler")
    start = house.take_in(drawing("green", (64, 64)))
    embeddings = house.encode_prompts(recipe)
    with house.guided([example(adapters["house plain"])]):
        ours = house.denoise(recipe, 0, embeddings, start=start)
    pipeline = diffusers_pipeline(
        house, folders["house plain"], recipe, [0.8], StableDiffusionImg2ImgPipeline
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    with torch.inference_mode():
        latents = start.posterior.sample(generator) * house._vae.config.scaling_factor
        theirs = pipeline(
            **house._prompt_arguments(embeddings),
            image=latents,
            ip_adapter_image=[drawing()],
            strength=0.625,
            num_inference_steps=recipe.num_inference_steps,
            guidance_scale=recipe.guidance_scale,
            generator=generator,
            output_type="latent",
        ).images
    assert torch.equal(ours, theirs)
    mask = np.zeros((64, 64), dtype=np.float32)
    mask[:, :32] = 1
    masked = house.take_in(drawing("green", (64, 64)), mask)
    recipe = replace(recipe, mask="c" * 64, strength=1.0)
    pictures = []
    for guides in ((), (example(adapters["house plain"]),)):
        with house.guided(guides):
            pictures.append(house.denoise(recipe, 0, embeddings, start=masked))
    assert torch.equal(pictures[0][..., 5:], pictures[1][..., 5:])
    assert not torch.allclose(pictures[0][..., :3], pictures[1][..., :3], atol=1e-2)


def test_nothing_is_left_behind_when_it_is_stopped(
    house: StableDiffusion15, adapters: dict[str, IPAdapter]
) -> None:
    plain = made(house, MUG)
    with pytest.raises(KeyboardInterrupt), house.guided([example(adapters["house plain"])]):
        raise KeyboardInterrupt
    assert torch.equal(made(house, MUG), plain)


def test_one_of_another_model_is_refused(
    models: dict[str, Family], adapters: dict[str, IPAdapter]
) -> None:
    for name, other in (("house", "xl plain"), ("xl", "house plus")):
        with pytest.raises(AttemptFailedError) as caught:
            made(models[name], MUG, example(adapters[other]))
        assert caught.value.code is FailureCode.ADAPTER_UNFIT


def test_its_memory_is_known_before_it_is_loaded(
    folders: dict[str, Path], adapters: dict[str, IPAdapter], engine: Engine
) -> None:
    for name, folder in folders.items():
        parts = measure_parts(folder, engine)
        loaded = adapters[name].part_bytes
        assert parts.denoiser == loaded["ip_adapter"]
        assert abs(parts.encoders - loaded["image_encoder"]) <= 17 * 8  # of places


def header_of(path: Path) -> Header:
    with path.open("rb") as file:
        return read_header(file)


def test_headers_say_what_fits(models: dict[str, Family], folders: dict[str, Path]) -> None:
    bases = {
        name: {
            "unet": layers_of(
                Header(shapes={k: tuple(v.shape) for k, v in model._denoiser.state_dict().items()})
            )
        }
        for name, model in models.items()
    }
    for name, folder in folders.items():
        header, own = header_of(folder / IP_ADAPTER_NAME), name.split()[0]
        assert is_ip_adapter(header)
        wanted = wanted_by(header)
        assert (wanted.width, wanted.is_projected) == (
            (24, True) if "plain" in name else (32, False)
        )
        check_ip_adapter(header, bases[own])
        with pytest.raises(AdapterUnfitError):
            check_ip_adapter(header, bases["xl" if own == "house" else "house"])
        lacking = dict(header.shapes)
        lacking.pop("ip_adapter.1.to_v_ip.weight")
        with pytest.raises(AdapterUnfitError):
            check_ip_adapter(Header(shapes=lacking), bases[own])


def test_those_for_faces_are_told() -> None:
    shapes = {"image_proj.proj.0.weight": (1024, 512), "image_proj.norm.weight": (768,)}
    with pytest.raises(AdapterUnfitError, match="FaceID"):
        wanted_by(Header(shapes=shapes))
    with pytest.raises(AdapterUnfitError, match="no known kind"):
        wanted_by(Header(shapes={"image_proj.odd": (2, 2)}))


def test_half_a_file_is_not_loaded(
    folders: dict[str, Path], engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "image_encoder").symlink_to(folders["house plain"] / "image_encoder")
    tensors = load_file(folders["house plain"] / IP_ADAPTER_NAME)
    del tensors["image_proj.norm.bias"]
    save_file(tensors, tmp_path / IP_ADAPTER_NAME)
    with pytest.raises(RuntimeError):
        IPAdapter(tmp_path, engine)


SHOWN: dict[str, object] = {"kind": "ip_adapter", "model": "c" * 64, "image": "b" * 64}


def parsed(*references: object) -> Recipe:
    return parse_recipe({"model": "a" * 64, "prompt": "x", "references": list(references)})


def test_a_recipe_names_it_among_its_references() -> None:
    recipe = parsed(SHOWN, {"image": "d" * 64}, {**SHOWN, "weight": 0.5, "end": 0.5})
    assert recipe.to_wire()["references"] == [
        {**SHOWN, "weight": 1, "start": 0, "end": 1},
        {"kind": "reference", "image": "d" * 64, "weight": 1, "start": 0, "end": 1},
        {**SHOWN, "weight": 0.5, "start": 0, "end": 0.5},
    ]
    assert recipe.adapters == ("c" * 64,)
    assert parse_recipe(recipe.to_wire()) == recipe
    assert parsed({**SHOWN, "weight": 0}).adapters == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "x"}, "unknown_ip_adapter"),
        ({"model": None}, "unknown_ip_adapter"),
        ({"kind": "reference"}, "not_with_kind"),
        ({"image": None}, "needs_image"),
        ({"weight": 3}, "out_of_range"),
    ],
)
def test_what_is_wrong_is_told(change: dict[str, object], code: str) -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parsed({**SHOWN, **change})
    (found,) = caught.value.problems
    assert (found.field, found.code) == ("references", code)


@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_a_projection_that_is_not_whole_is_refused_on_both_sides(
    folders: dict[str, Path], kind: str
) -> None:
    tensors = load_file(folders[f"house {kind}"] / IP_ADAPTER_NAME)
    own = [name for name in tensors if name.startswith("image_proj.")]
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wanted_by(Header(shapes=shapes))
    for name in own:
        with pytest.raises(AdapterUnfitError):
            wanted_by(Header(shapes={each: shapes[each] for each in shapes if each != name}))
        if not name.endswith("latents"):  # as many words as there are
            with pytest.raises(AdapterUnfitError):
                wanted_by(Header(shapes={**shapes, name: (shapes[name][0] + 1, *shapes[name][1:])}))
    # Of empty tensors that say much, nothing is built at its size
    into = "image_proj.proj.weight" if kind == "plain" else "image_proj.proj_in.weight"
    huge = {**shapes, into: (0, 10**6)}
    with pytest.raises(AdapterUnfitError, match="not whole"):
        wanted_by(Header(shapes=huge))


def test_a_projection_takes_no_memory_before_it_is_found_to_be_whole(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(folders["house plus"] / IP_ADAPTER_NAME)
    tensors["image_proj.proj_in.weight"] = torch.zeros(0, 10**6)
    built: list[str] = []
    real = torch.nn.Linear.reset_parameters

    def filled(layer: torch.nn.Linear) -> None:
        built.append(str(layer.weight.device))
        real(layer)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", filled)
    with pytest.raises(RuntimeError, match="size mismatch"):
        _module_of(tensors)
    assert set(built) == {"meta"}


def test_an_encoder_that_is_not_whole_is_not_filled_in_at_random(
    folders: dict[str, Path], engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "partly"
    shutil.copytree(folders["house plain"], folder)
    file = folder / "image_encoder" / "model.safetensors"
    weights = load_file(file)
    whole = dict(weights)
    del weights["vision_model.encoder.layers.1.self_attn.q_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(AdapterUnfitError, match=r"lacks .*q_proj\.weight"):
        IPAdapter(folder, engine)
    # nor is a larger one built than its weights are
    save_file(whole, file, metadata={"format": "pt"})
    IPAdapter(folder, engine)
    config = json.loads((folder / "image_encoder" / "config.json").read_text())
    config["num_hidden_layers"] = 1_000
    (folder / "image_encoder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="num_hidden_layers"):
        IPAdapter(folder, engine)
