"""LoRAs and embeddings over a resident model: what they change, and that they leave no trace."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.adapters import Adapter, Stack, load_adapter
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.prompts import EmbeddingCache
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.planning.plan import Parts, Room, make_plan
from gpuagent.planning.plan import Work as PlannedWork
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.loras import LoraUse
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import AssetKind
from gpuagent.runner.adapters import KEPT_SHARE, Adapters

from .support import ADAPTERS, FAST_FILE, HOUSE, NEON_FILE, TEAL_FILE, TOKEN, adapter_ref

MIB = 1024**2

MUG = Recipe(
    model="a" * 64,
    prompt="neon sign of a red mug",
    num_inference_steps=6,
    seed=3,
    width=64,
    height=64,
)
Make = Callable[[Recipe, Stack], Pixels]


def adapter(file: Path, kind: AssetKind = AssetKind.LORA, *words: str) -> Adapter:
    return load_adapter(adapter_ref(file, kind, *words), file.parent)


@pytest.fixture(scope="module")
def neon() -> Adapter:
    return adapter(NEON_FILE)


@pytest.fixture(scope="module")
def fast() -> Adapter:
    return adapter(FAST_FILE)


@pytest.fixture(scope="module")
def teal() -> Adapter:
    return adapter(TEAL_FILE, AssetKind.EMBEDDING, "<teal>")


@pytest.fixture(scope="module")
def make(house: StableDiffusion15) -> Make:
    """Make one picture of a recipe with a stack."""

    def make_one(recipe: Recipe, stack: Stack) -> Pixels:
        with house.laid(stack):
            return house.decode(house.denoise(recipe, 0, house.encode_prompts(recipe)))

    return make_one


@pytest.fixture(scope="module")
def plain(make: Make) -> Pixels:
    return make(MUG, Stack())


def loras(*pairs: tuple[Adapter, float]) -> Stack:
    return Stack(loras=pairs)


def distance(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def weights_of(house: StableDiffusion15) -> str:
    """A hash of every weight and buffer, and of their names."""
    seen = hashlib.sha256()
    for part in (house._unet, house._text_encoder, house._vae):
        for name, tensor in part.state_dict().items():
            seen.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return seen.hexdigest()


def test_a_lora_changes_the_picture_and_its_weight_says_how_much(
    make: Make, neon: Adapter, plain: Pixels
) -> None:
    half, whole = (distance(make(MUG, loras((neon, w))), plain) for w in (0.5, 1.0))
    assert 0 < half < whole
    assert whole > 10


def test_weight_nothing_is_no_lora(make: Make, neon: Adapter, plain: Pixels) -> None:
    assert np.array_equal(make(MUG, loras((neon, 0.0))), plain)


def test_opposite_weights_go_opposite_ways(make: Make, neon: Adapter, plain: Pixels) -> None:
    away, toward = (make(MUG, loras((neon, w))).astype(int) - plain for w in (-0.1, 0.1))
    assert min(np.abs(away).mean(), np.abs(toward).mean()) > 0.5
    alike = np.vdot(away, toward) / (np.linalg.norm(away) * np.linalg.norm(toward))
    assert alike < -0.25


def test_nothing_is_left_behind(
    house: StableDiffusion15, make: Make, neon: Adapter, fast: Adapter, teal: Adapter, plain: Pixels
) -> None:
    before = weights_of(house)
    make(MUG, Stack(loras=((neon, 1.0), (fast, -0.7)), embeddings=(teal,)))
    assert weights_of(house) == before
    assert np.array_equal(make(MUG, Stack()), plain)


def test_nothing_is_left_behind_by_what_was_stopped_or_did_not_fit(
    house: StableDiffusion15, make: Make, neon: Adapter, teal: Adapter, plain: Pixels
) -> None:
    with pytest.raises(KeyboardInterrupt), house.laid(loras((neon, 1.0))):
        raise KeyboardInterrupt
    narrow = replace(teal, header=replace(teal.header, shapes={"<teal>": (64,)}))
    with pytest.raises(AttemptFailedError) as caught:
        make(MUG, Stack(loras=((neon, 1.0),), embeddings=(narrow,)))
    assert caught.value.code is FailureCode.ADAPTER_UNFIT
    assert np.array_equal(make(MUG, Stack()), plain)


def test_pictures_are_the_same_in_any_order_of_stacks(
    make: Make, neon: Adapter, fast: Adapter, teal: Adapter
) -> None:
    called = replace(MUG, prompt="photo of a <teal> mug")
    jobs = [
        (MUG, Stack()),
        (MUG, loras((neon, 1.0))),
        (MUG, loras((neon, 0.3))),
        (MUG, loras((fast, 1.0), (neon, 0.8))),
        (MUG, loras((neon, 0.8), (fast, 1.0))),
        (called, Stack(embeddings=(teal,))),
        (called, Stack()),
        (called, Stack(loras=((neon, -0.5),), embeddings=(teal,))),
    ]
    first = [make(*job) for job in jobs]
    order = list(range(len(jobs))) * 2
    random.Random(7).shuffle(order)  # noqa: S311  # an order, no secret
    for number in order:
        assert np.array_equal(make(*jobs[number]), first[number]), number
    assert len({picture.tobytes() for picture in first}) >= len(jobs) - 1


def test_a_picture_is_what_the_stock_pipeline_makes_of_the_same_stack(
    make: Make, neon: Adapter, fast: Adapter
) -> None:
    from diffusers import StableDiffusionPipeline

    stock = StableDiffusionPipeline.from_pretrained(
        HOUSE, safety_checker=None, dtype=torch.float32, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    for name in ("neon", "fast"):
        stock.load_lora_weights(str(ADAPTERS / name), adapter_name=name)
    stock.set_adapters(["neon", "fast"], [0.8, 0.4])
    image = stock(
        MUG.prompt,
        num_inference_steps=MUG.num_inference_steps,
        guidance_scale=MUG.guidance_scale,
        width=MUG.width,
        height=MUG.height,
        generator=torch.Generator("cpu").manual_seed(MUG.seed),
    ).images[0]
    assert distance(np.asarray(image), make(MUG, loras((neon, 0.8), (fast, 0.4)))) < 1


def test_kohyas_spelling_makes_the_same_picture_and_alpha_scales(
    make: Make, neon: Adapter, tmp_path: Path
) -> None:
    renamed = {}
    for name, tensor in load_file(NEON_FILE).items():
        module, _, rest = name.removeprefix("unet.").rpartition(".lora_")
        stem = "lora_unet_" + module.replace(".", "_")
        renamed[f"{stem}.lora_{'down' if rest.startswith('A') else 'up'}.weight"] = tensor
        renamed[f"{stem}.alpha"] = torch.tensor(8.0)  # of rank 16: half
    save_file(renamed, tmp_path / "kohya.safetensors")
    kohya = adapter(tmp_path / "kohya.safetensors")
    assert np.array_equal(make(MUG, loras((kohya, 1.0))), make(MUG, loras((neon, 0.5))))


def test_a_lora_of_the_text_encoder_changes_the_embeddings_alone_and_leaves(
    house: StableDiffusion15, tmp_path: Path
) -> None:
    random_ = torch.Generator().manual_seed(1)
    stem, width = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 128
    tensors = {
        f"{stem}.lora_A.weight": torch.randn(4, width, generator=random_),
        f"{stem}.lora_B.weight": torch.randn(width, 4, generator=random_),
    }
    save_file(tensors, tmp_path / "text.safetensors")
    before = house.encode_prompts(MUG).prompt
    with house.laid(loras((adapter(tmp_path / "text.safetensors"), 1.0))):
        during = house.encode_prompts(MUG).prompt
    assert float((during - before).abs().max()) > 0.01
    assert torch.equal(house.encode_prompts(MUG).prompt, before)


def test_an_embedding_is_read_where_its_word_stands_and_weighs_like_any_word(
    house: StableDiffusion15, teal: Adapter
) -> None:
    called = replace(MUG, prompt="photo of a <teal> mug")
    plain = house.encode_prompts(called).prompt
    with house.laid(Stack(embeddings=(teal,))):
        read = house.encode_prompts(called).prompt
        weighted = house.encode_prompts(replace(called, prompt="photo of a (<teal>:1.5) mug"))
        untouched = house.encode_prompts(MUG).prompt
    assert not torch.equal(read, plain)
    assert not torch.equal(weighted.prompt, read)
    assert torch.equal(untouched, house.encode_prompts(MUG).prompt)
    assert torch.equal(house.encode_prompts(called).prompt, plain)


def test_an_embedding_of_a_word_the_model_knows_is_what_the_word_is(
    house: StableDiffusion15, tmp_path: Path
) -> None:
    table = load_file(HOUSE / "text_encoder" / "model.safetensors")
    ids = house._tokenizer("red blue", add_special_tokens=False).input_ids
    save_file(
        {"emb_params": table["embeddings.token_embedding.weight"][ids].clone()},
        tmp_path / "two.safetensors",
    )
    two = adapter(tmp_path / "two.safetensors", AssetKind.EMBEDDING, "<two>")
    with house.laid(Stack(embeddings=(two,))):
        called = house.encode_prompts(replace(MUG, prompt="a <two> mug")).prompt
    assert torch.equal(called, house.encode_prompts(replace(MUG, prompt="a red blue mug")).prompt)


def test_kept_embeddings_are_told_apart_by_what_was_laid() -> None:
    one = LoraUse(digest="b" * 64, weight=1.0)
    recipes = [
        MUG,
        replace(MUG, loras=(one,)),
        replace(MUG, loras=(replace(one, weight=0.5),)),
        replace(MUG, embeddings=("b" * 64,)),
    ]
    assert len({EmbeddingCache.key("org", "a", recipe) for recipe in recipes}) == len(recipes)


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    """A disk cache that may read the house adapters."""
    places = Places(studio_url="http://127.0.0.1:9", token=TOKEN, models_root=ADAPTERS)
    return FileCache(tmp_path / "cache", Sources(places, httpx.Client(trust_env=False)))


AT_ONCE: Callable[[Callable[[], Adapter]], Adapter] = lambda find: find()  # noqa: E731  # a constant of a type


def test_a_stack_is_fetched_verified_and_kept_while_there_is_room(cache: FileCache) -> None:
    refs = (
        adapter_ref(NEON_FILE, AssetKind.LORA),
        adapter_ref(FAST_FILE, AssetKind.LORA),
        adapter_ref(TEAL_FILE, AssetKind.EMBEDDING, "<teal>"),
    )
    neon, fast, teal = refs
    room = FAST_FILE.stat().st_size + TEAL_FILE.stat().st_size
    adapters = Adapters(cache, memory_bytes=room * KEPT_SHARE)

    def stack(*uses: LoraUse, embeddings: tuple[str, ...] = ()) -> Stack:
        recipe = replace(MUG, loras=uses, embeddings=embeddings)
        return adapters.stack(recipe, refs, patiently=AT_ONCE)

    found = stack(LoraUse(digest=neon.digest, weight=0.5), embeddings=(teal.digest,))
    assert [(each.ref, weight) for each, weight in found.loras] == [(neon, 0.5)]
    assert [each.ref for each in found.embeddings] == [teal]
    assert found.parameters == sum(t.numel() for t in load_file(NEON_FILE).values())
    assert adapters.kept == (neon.digest, f"{teal.digest} <teal>")
    again = stack(LoraUse(digest=neon.digest))
    assert again.loras[0][0] is found.loras[0][0]

    stack(LoraUse(digest=fast.digest))  # neon was used last, but both do not fit
    assert adapters.kept == (f"{teal.digest} <teal>", fast.digest)
    adapters.release()
    assert not adapters.kept


def test_an_adapter_that_is_not_in_the_assignment_is_missing(cache: FileCache) -> None:
    adapters = Adapters(cache, memory_bytes=2**30)
    neon = adapter_ref(NEON_FILE, AssetKind.LORA)
    for recipe in (
        replace(MUG, loras=(LoraUse(digest="b" * 64),)),
        replace(MUG, embeddings=(neon.digest,)),  # it is there, as something else
    ):
        with pytest.raises(AttemptFailedError) as caught:
            adapters.stack(recipe, (neon,), patiently=AT_ONCE)
        assert caught.value.code is FailureCode.ADAPTER_MISSING


def test_a_file_that_the_disk_has_lost_is_fetched_again(cache: FileCache, tmp_path: Path) -> None:
    neon = adapter_ref(NEON_FILE, AssetKind.LORA)
    recipe = replace(MUG, loras=(LoraUse(digest=neon.digest),))
    with (cache.folder(neon) / NEON_FILE.name).open("r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 64)
    adapters = Adapters(cache, memory_bytes=2**30)
    assert adapters.stack(recipe, (neon,), patiently=AT_ONCE).parameters > 0


def test_adapters_are_in_the_memory_plan() -> None:
    parts = Parts(encoders=10 * MIB, denoiser=100 * MIB, vae=10 * MIB)
    room = Room(memory_bytes=2**40)
    without = make_plan(parts, PlannedWork(width=512, height=512), room)
    beside = make_plan(parts, PlannedWork(width=512, height=512, adapters_bytes=50 * MIB), room)
    assert beside.needed_bytes - without.needed_bytes == 50 * MIB
