"""The adapters' trainers on a base of toy size: what they write loads in stock pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    LCMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from house.drawing.captions import caption
from house.drawing.render import Pixels
from house.drawing.specs import Item, Spec
from house.edges import as_condition, edges
from house.evaluation import as_input
from house.measure import edge_f1, generate, hue_of_object
from house.networks import build_pipeline, build_text_encoder, build_tokenizer, build_unet
from house.recipe import read_recipe
from house.training.control import build_control, train_control
from house.training.denoiser import Latents
from house.training.fewstep import FourSteps, train_fewstep
from house.training.frozen import drawn, examples, load_base
from house.training.inversion import save_word, train_word
from house.training.likeness import look_at, save_ip_adapter, train_adapter, train_encoder
from house.training.lora import neon_specs, save_lora, train_lora

SPECS = [Spec((Item(kind, "red"),), "white") for kind in ("mug", "car", "star", "hat")]
PROMPT = "photo of a red mug on grass"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of toy widths with weights at random."""
    made = tmp_path_factory.mktemp("house")
    torch.manual_seed(0)
    tokenizer = build_tokenizer(made / "words", [PROMPT] * 4, 20)
    text = build_text_encoder(tokenizer, width=32, layers=1, heads=2)
    unet = build_unet([16, 32, 32], [2, 2, 2], 32)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    blocks = 4
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(8,) * blocks,
        layers_per_block=1,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=128,
        scaling_factor=1.0,
    )
    build_pipeline(unet, text, tokenizer, vae).save_pretrained(made / "model")
    return made / "model"


@pytest.fixture
def base(folder: Path) -> StableDiffusionPipeline:
    return load_base(folder)


@pytest.fixture(scope="module")
def pictures() -> Pixels:
    return drawn(SPECS, 3)


def latents_of(base: StableDiffusionPipeline, pictures: Pixels) -> Latents:
    rng = np.random.default_rng(0)
    return examples(base, pictures, [[caption(spec, rng)] for spec in SPECS])


def plan_of(stage: str, folder: Path) -> dict[str, Any]:
    """The stage's own plan, cut to three steps of two pictures."""
    plan = read_recipe(folder).recipe[stage]
    return {**plan, "steps": 3, "batch": 2}


def made_by(unet: UNet2DConditionModel, hidden: torch.Tensor) -> torch.Tensor:
    noisy = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        answer: torch.Tensor = unet(noisy, torch.tensor([500, 900]), hidden).sample
    return answer


def words_of(pipeline: StableDiffusionPipeline) -> torch.Tensor:
    hidden: torch.Tensor = pipeline.encode_prompt(PROMPT, "cpu", 2, False)[0].detach()
    return hidden


def test_a_controlnet_loads_in_its_pipeline_and_moves_the_picture(
    base: StableDiffusionPipeline, pictures: Pixels, tmp_path: Path
) -> None:
    plan = plan_of("canny", tmp_path)
    widths = (4, 4, 4, 4)
    control = train_control(
        base, pictures, latents_of(base, pictures), plan, tmp_path / "run", widths
    )
    control.half().save_pretrained(tmp_path / "canny")
    loaded = ControlNetModel.from_pretrained(tmp_path / "canny", dtype=torch.float32)
    assert loaded.config.addition_embed_type_num_heads == 4
    kept = loaded.state_dict()
    assert all(torch.equal(kept[name], w.float()) for name, w in control.state_dict().items())
    pipeline = StableDiffusionControlNetPipeline(
        **base.components, controlnet=loaded, requires_safety_checker=False
    )
    lines = as_condition(edges(as_input(pictures[:1])))
    with_lines, without = (
        generate(pipeline, [PROMPT], [1], steps=2, condition=given)
        for given in (lines, torch.zeros_like(lines))
    )
    assert with_lines.shape == (1, 3, 128, 128)
    assert not torch.equal(with_lines, without)


def test_an_ip_adapter_loads_in_its_pipeline_and_moves_the_picture(
    base: StableDiffusionPipeline, folder: Path, pictures: Pixels, tmp_path: Path
) -> None:
    plan = {**plan_of("likeness", tmp_path), "width": 32, "layers": 1, "encoder_steps": 3}
    plan["encoder_batch"] = 2
    encoder = train_encoder(pictures, SPECS, plan, tmp_path / "encoder")
    seen = look_at(encoder, pictures)
    state = train_adapter(base, latents_of(base, pictures), seen, plan, tmp_path / "run")
    save_ip_adapter(state, encoder, tmp_path)
    # Taken up again when it was done, it is the same.
    again = load_base(folder)
    same = train_adapter(again, latents_of(again, pictures), seen, plan, tmp_path / "run")
    assert all(torch.equal(tensor, same[name]) for name, tensor in state.items())
    pipeline = load_base(folder)
    pipeline.load_ip_adapter(str(tmp_path), subfolder="", weight_name="ip_adapter.safetensors")
    made = [
        pipeline(
            PROMPT,
            ip_adapter_image=Image.fromarray(picture),
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        ).images
        for picture in (pictures[0], np.zeros_like(pictures[0]))
    ]
    assert not torch.equal(*made)


def test_a_new_controlnet_changes_nothing(base: StableDiffusionPipeline) -> None:
    control = build_control(base.unet, (4, 4, 4, 4))
    noisy, hidden = torch.randn(1, 4, 16, 16), words_of(base)[:1]
    down, middle = control(
        noisy, torch.tensor([500]), hidden, torch.ones(1, 3, 128, 128), return_dict=False
    )
    assert all(not part.any() for part in [*down, middle])


def test_a_controlnet_pools_the_text_as_the_unet_does(base: StableDiffusionPipeline) -> None:
    control, hidden = build_control(base.unet, (4, 4, 4, 4)), words_of(base)
    with torch.no_grad():
        assert torch.equal(control.add_embedding(hidden), base.unet.add_embedding(hidden))


def test_the_four_step_adapter_loads_and_samples(
    base: StableDiffusionPipeline, folder: Path, pictures: Pixels, tmp_path: Path
) -> None:
    train_fewstep(base, latents_of(base, pictures), plan_of("fast", tmp_path), tmp_path / "run")
    save_lora(base.unet, tmp_path / "fast")
    pipeline = load_base(folder)
    plain = made_by(pipeline.unet, words_of(pipeline))
    pipeline.load_lora_weights(tmp_path / "fast")
    adapted = made_by(pipeline.unet, words_of(pipeline))
    assert torch.allclose(adapted, made_by(base.unet, words_of(base)), atol=2e-3)
    assert not torch.allclose(adapted, plain, atol=2e-3)


def test_the_four_steps_are_the_schedulers_own(base: StableDiffusionPipeline) -> None:
    scheduler = LCMScheduler.from_config(base.scheduler.config)
    way, hidden = FourSteps(LCMScheduler.from_config(base.scheduler.config)), words_of(base)
    scheduler.set_timesteps(4)
    assert way.times.tolist() == scheduler.timesteps.tolist() == [999, 759, 499, 259]
    noisy = torch.randn(2, 4, 16, 16)
    for time in scheduler.timesteps:
        with torch.no_grad():
            velocity = base.unet(noisy, time, hidden).sample
            wanted = scheduler.step(velocity, time, noisy).denoised
            answer = way.answer(base.unet, noisy, time.expand(2), hidden)
        # Half precision, where the processor has it, is all the difference.
        assert torch.allclose(answer, wanted, atol=0.05)
    with torch.no_grad():
        assert torch.equal(way.answer(base.unet, noisy, torch.zeros(2).long(), hidden), noisy)


def test_a_style_adapter_loads_and_a_finished_run_is_taken_as_it_is(
    base: StableDiffusionPipeline, folder: Path, pictures: Pixels, tmp_path: Path
) -> None:
    prior = latents_of(base, pictures)
    how: dict[str, Any] = {"rank": 2, "learning_rate": 1e-2, "seed": 1, "batch": 2}
    said = [["neon sign of a red mug"]] * len(SPECS)
    train_lora(base, pictures, said, steps=3, prior=prior, folder=tmp_path / "run", **how)
    save_lora(base.unet, tmp_path / "neon")
    again = load_base(folder)
    train_lora(again, pictures, said, steps=3, prior=prior, folder=tmp_path / "run", **how)
    pipeline = load_base(folder)
    pipeline.load_lora_weights(tmp_path / "neon", adapter_name="neon")
    hidden = words_of(pipeline)
    adapted = made_by(pipeline.unet, hidden)
    assert torch.equal(made_by(again.unet, hidden), made_by(base.unet, hidden))
    assert torch.allclose(adapted, made_by(base.unet, hidden), atol=2e-3)


def test_neon_signs_are_drawn_of_the_given_kinds_only() -> None:
    specs = neon_specs(["mug", "car", "tree"], 60, 1)
    assert {spec.items[0].kind for spec in specs} == {"mug", "car", "tree"}
    assert len({spec.items[0] for spec in specs}) > 20
    assert {spec.style for spec in specs} == {"neon"}


def test_a_learnt_word_loads(
    base: StableDiffusionPipeline, folder: Path, pictures: Pixels, tmp_path: Path
) -> None:
    said = [["photo of a <teal> mug"]] * len(SPECS)
    how: dict[str, Any] = {
        "start": ["red", "mug"],
        "steps": 3,
        "batch": 2,
        "learning_rate": 1e-2,
        "seed": 1,
    }
    word = train_word(base, "<teal>", pictures, said, folder=tmp_path / "run", **how)
    save_word("<teal>", word, tmp_path / "teal")
    pipeline = load_base(folder)
    known = len(pipeline.tokenizer)
    pipeline.load_textual_inversion(tmp_path / "teal")
    ids = pipeline.tokenizer("a <teal> mug").input_ids
    assert known in ids
    table = pipeline.text_encoder.get_input_embeddings().weight
    assert torch.allclose(table[known], word, atol=1e-3)
    assert generate(pipeline, ["a <teal> mug"], [1], steps=2).isfinite().all()


def test_edges_lie_where_the_colour_changes() -> None:
    picture = torch.full((1, 3, 32, 32), -1.0)
    picture[:, 0, :, 16:] = 1.0
    lines = edges(picture)
    assert lines[0, 0, 8].nonzero().flatten().tolist() in ([15], [16])
    assert lines.sum() == 32
    assert not edges(torch.zeros(1, 3, 32, 32)).any()


def test_edges_agree_within_two_pixels() -> None:
    wanted = torch.zeros(1, 1, 32, 32)
    wanted[..., 10] = 1
    assert edge_f1(wanted.roll(2, -1), wanted) == pytest.approx(1)
    assert edge_f1(wanted.roll(3, -1), wanted) == pytest.approx(0)


def test_the_hue_of_a_teal_object_is_teals() -> None:
    specs = [Spec((Item(kind, "teal"),), "white", "flat") for kind in ("heart", "mug")]
    hues = hue_of_object(as_input(drawn(specs, 1)))
    assert hues == pytest.approx(torch.tensor([0.485, 0.485]), abs=0.03)
