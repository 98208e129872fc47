"""Device, host memory, disk, store: with the house model, by its own loaders, on a CPU."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.planning.plan import Measure
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.runner.compute import Compute
from gpuagent.runner.held import HeldAttempts
from gpuagent.runner.models import Models
from gpuagent.runner.preload import Preloader

from .support import HOUSE, TOKEN, model_ref

MIB = 1024**2
WEIGHTS = 32 * MIB  # of the house model, rounded up


@dataclass
class Bench:
    """Models of a machine with given budgets, and three of them: the house model under names."""

    folder: Path
    engine: Engine
    refs: tuple[ModelRef, ModelRef, ModelRef]
    compute: Compute

    def start(self, *, device: int = WEIGHTS, host: int = 0, disk: int | None = None) -> Models:
        places = Places(studio_url="http://127.0.0.1:9", token=TOKEN, models_root=self.folder)
        sources = Sources(places, httpx.Client(trust_env=False))
        cache = FileCache(self.folder / "cache", sources, budget_bytes=disk)
        engine = replace(self.engine, memory_bytes=OVERHEAD_BYTES + device)
        return Models(cache, engine, self.compute, host_bytes=host)


@pytest.fixture
def bench(tmp_path: Path, engine: Engine) -> Bench:
    made = []
    for number in range(3):
        folder = tmp_path / f"model-{number}"
        shutil.copytree(HOUSE, folder)
        (folder / "number.txt").write_text(str(number))  # another digest
        made.append(model_ref(folder, name=f"House {number}"))
    return Bench(tmp_path, engine, (made[0], made[1], made[2]), Compute())


def sources_of(models: Models) -> dict[str, int]:
    loads = models.ledger.to_wire()["loads"]
    assert isinstance(loads, dict)
    return {source: count for source, count in loads.items() if count}


def test_each_place_is_tried_from_the_nearest(bench: Bench) -> None:
    # Given room for one model on the device and one in host memory
    first, second, third = bench.refs
    models = bench.start(host=WEIGHTS)
    models.loaded(first)
    models.loaded(first)
    assert sources_of(models) == {"store": 1, "gpu": 1}
    # When others push it out
    models.loaded(second)
    assert (models.warm, models.at_hand) == ((second.digest,), (second.digest, first.digest))
    # Then it comes back from host memory, and from the disk once that was too small
    models.loaded(first)
    assert sources_of(models) == {"store": 2, "gpu": 1, "host": 1}
    models.loaded(second)
    models.loaded(third)
    models.loaded(first)
    assert sources_of(models) == {"store": 3, "gpu": 1, "host": 2, "disk": 1}
    seconds = models.ledger.to_wire()["load_seconds"]
    assert isinstance(seconds, dict)
    assert seconds["host"] < seconds["disk"]


def test_without_host_memory_the_disk_is_next(bench: Bench) -> None:
    first, second, _ = bench.refs
    models = bench.start(host=0)
    for ref in (first, second, first):
        models.loaded(ref)
    assert sources_of(models) == {"store": 2, "disk": 1}
    assert models.at_hand == (first.digest,)


def test_model_that_was_aside_makes_the_same_picture(
    bench: Bench, house: StableDiffusion15
) -> None:
    recipe = Recipe(model="a" * 64, prompt="a mug", num_inference_steps=2, seed=4)
    models = bench.start(host=2 * WEIGHTS)
    for ref in (bench.refs[0], bench.refs[1], bench.refs[0]):
        model = models.loaded(ref)
    assert np.array_equal(make(model, recipe), make(house, recipe))


def make(model: LoadedModel, recipe: Recipe) -> Pixels:
    assert isinstance(model, Family)
    return model.decode(model.denoise(recipe, 0, model.encode_prompts(recipe)))


def test_model_with_staged_work_is_not_let_go_for_another(bench: Bench) -> None:
    first, second, third = bench.refs
    models = bench.start(device=2 * WEIGHTS)
    models.loaded(first)
    models.loaded(second)
    with models.hold(first):
        models.loaded(third)
        assert models.warm == (first.digest, third.digest)
        # nor for one that nobody waits for
        with models.hold(third):
            assert not models.fits_beside(second, ())
    assert models.fits_beside(second, (third.digest,))


def test_work_at_hand_comes_before_work_that_waits(bench: Bench) -> None:
    """With room for one only, holding it would keep everything from being done."""
    first, second, _ = bench.refs
    models = bench.start(host=WEIGHTS)
    models.loaded(first)
    with models.hold(first), models.hold(second):
        models.loaded(second)
    assert models.warm == (second.digest,)
    assert first.digest in models.at_hand


def test_a_wish_pushes_out_what_nobody_wants_more_though_it_was_used_later(bench: Bench) -> None:
    # Given: a device with room for two, one of which is wanted, and was used longest ago.
    models = bench.start(device=2 * WEIGHTS)
    wanted, unwanted, wish = bench.refs
    for ref in (wanted, unwanted):
        models.loaded(ref)
    is_warm = threading.Event()
    preloader = Preloader(models, bench.compute, HeldAttempts(), on_warm=is_warm.set)
    preloader.start()
    # When: another is wished for beside it
    preloader.want((wanted, wish))
    assert is_warm.wait(60)
    preloader.close()
    # Then: the other one has gone.
    assert models.warm == (wanted.digest, wish.digest)


def test_host_memory_takes_what_the_device_has_no_room_for(bench: Bench) -> None:
    first, second, third = bench.refs
    models = bench.start(host=WEIGHTS)
    models.loaded(first)
    assert not models.fits_beside(second, (first.digest,))
    assert models.to_host(second)
    assert models.warm == (first.digest,)
    assert models.at_hand == (first.digest, second.digest)
    assert not models.to_host(third)  # nothing goes for it
    models.loaded(second)
    assert sources_of(models) == {"store": 1, "host": 1}


def test_disk_keeps_within_its_budget_while_models_come_and_go(bench: Bench) -> None:
    models = bench.start(disk=17 * MIB)
    for ref in bench.refs:
        models.loaded(ref)
    # Their weights are the same files: one model's bytes, and three small ones.
    assert models.residents()[-1]["place"] == "disk"
    assert sources_of(models) == {"store": 3}


def test_residents_say_what_lies_where(bench: Bench) -> None:
    first, second, _ = bench.refs
    models = bench.start(host=WEIGHTS)
    models.loaded(first)
    models.loaded(second)
    told = models.residents()
    parts = {(r["place"], r["name"], r["component"]) for r in told}
    assert {
        ("gpu", "House 1", "unet"),
        ("gpu", "House 1", "text_encoder"),
        ("host", "House 0", "vae"),
        ("disk", "House 0", "files"),
        ("disk", "House 1", "files"),
    } <= parts
    sizes = [r["bytes"] for r in told if (r["place"], r["component"]) == ("gpu", "unet")]
    assert len(sizes) == 1
    assert int(str(sizes[0])) > 10 * MIB


BIG = Recipe(model="a" * 64, prompt="a mug", width=384, height=384, num_inference_steps=2, seed=1)


def plan_in(bench: Bench, memory: int) -> tuple[Models, frozenset[Measure]]:
    models = bench.start(device=memory)
    plan = models.plan(bench.refs[0], BIG)
    assert plan.needed_bytes <= OVERHEAD_BYTES + memory
    return models, plan.measures


def test_less_memory_makes_the_same_recipe_go_further_down_the_ladder(bench: Bench) -> None:
    assert plan_in(bench, 700 * MIB)[1] == set()
    assert plan_in(bench, 300 * MIB)[1] == {Measure.VAE_TILES}
    assert plan_in(bench, 150 * MIB)[1] == {Measure.VAE_TILES, Measure.SPLIT_GUIDANCE}
    assert Measure.HALF_PRECISION in plan_in(bench, 80 * MIB)[1]
    models = bench.start(device=40 * MIB)
    with pytest.raises(AttemptFailedError) as caught:
        models.plan(bench.refs[0], BIG)
    assert caught.value.code is FailureCode.DOES_NOT_FIT
    assert 64 <= int(str(caught.value.data["largest_side"])) < 384


@pytest.mark.parametrize(
    ("memory", "likeness"),
    [(300, 3.0), (150, 3.0), (80, 12.0)],
    ids=["tiles", "tiles and split guidance", "half precision"],
)
def test_each_measure_makes_nearly_the_same_picture(
    bench: Bench, house: StableDiffusion15, memory: int, likeness: float
) -> None:
    house.bring()
    plain = make(house, BIG).astype(int)
    models, _ = plan_in(bench, memory * MIB)
    model = models.loaded(bench.refs[0], models.plan(bench.refs[0], BIG))
    pixels = make(model, BIG)
    assert pixels.shape == plain.shape
    assert not np.array_equal(pixels, plain)  # else nothing was done
    assert np.abs(pixels - plain).mean() < likeness
    # and without the measure the model is as it was
    model.bring()
    if not model.is_half:
        assert np.array_equal(make(model, BIG), plain)


def test_precision_that_a_plan_asks_for_is_loaded_anew(bench: Bench) -> None:
    models, measures = plan_in(bench, 80 * MIB)
    assert Measure.HALF_PRECISION in measures
    small = replace(BIG, width=64, height=64)
    whole = models.loaded(bench.refs[0], models.plan(bench.refs[0], small))
    assert not whole.is_half
    half = models.loaded(bench.refs[0], models.plan(bench.refs[0], BIG))
    assert half.is_half
    assert half.weights_bytes < whole.weights_bytes * 0.6


def test_cheaper_plan_follows_one_that_failed_until_none_is_left(bench: Bench) -> None:
    models, _ = plan_in(bench, 700 * MIB)
    plan = models.plan(bench.refs[0], BIG)
    labels = [plan.label]
    with pytest.raises(AttemptFailedError) as caught:
        while True:
            plan = models.plan(bench.refs[0], BIG, after=plan)
            labels.append(plan.label)
    assert labels == [
        "",
        "vae_tiles",
        "vae_tiles+split_guidance",
        "vae_tiles+split_guidance+half_precision",
    ]
    assert_out_of_memory(caught.value)
    with pytest.raises(AttemptFailedError) as given_up:
        models.plan_after_last(bench.refs[0], BIG, plan)
    assert_out_of_memory(given_up.value)


def assert_out_of_memory(error: AttemptFailedError) -> None:
    assert error.code is FailureCode.OUT_OF_MEMORY
    data = {name: int(str(value)) for name, value in error.data.items()}
    assert (data["width"], data["height"]) == (384, 384)
    assert 0 < data["largest_side"] <= 332  # three quarters of the pixels
    assert data["needed_bytes"] > 0
    assert data["available_bytes"] > 0


def test_memory_that_is_planned_is_not_less_than_what_is_taken(
    bench: Bench, house: StableDiffusion15
) -> None:
    """By this process's own peak: the planner's figures for the house model's family."""
    from gpuagent.planning.plan import Parts, Room, Work, needed_bytes
    from gpuagent.runner.telemetry import PeakMemory

    house.bring()
    parts = Parts(encoders=0, denoiser=0, vae=0)
    room = Room(memory_bytes=0, tile_side=128)
    latents = house.denoise(BIG, 0, house.encode_prompts(BIG))
    peak = PeakMemory(has_gpu=False)

    def taken(work: Callable[[], object]) -> int:
        peak.reset()
        before = peak.read() or 0
        work()
        return (peak.read() or 0) - before

    work = Work(width=BIG.width, height=BIG.height)
    assert taken(lambda: house.decode(latents)) < needed_bytes(parts, work, room, frozenset())
    house.bring(frozenset({Measure.VAE_TILES}))
    tiled = needed_bytes(parts, work, room, frozenset({Measure.VAE_TILES}))
    assert taken(lambda: house.decode(latents)) < tiled
    house.bring()
