"""A hundred jobs of all kinds in two orders: equal recipes give equal bytes, whatever came between.

By the agent's own classes. Between them lie jobs that are canceled, upscales, batches, and pictures
so large that the VAE works in tiles; the first order is watched (previews), the second is not.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image, ImageDraw

from gpuagent.pipelines.engine import Engine
from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.taxonomy import SAMPLERS, Architecture, AssetKind, FileKind
from tests.upscalers import make_upscaler_folder

from .in_process import AgentInside
from .support import FAST_FILE, NEON_FILE, TEAL_FILE, Attempt, FakeStudio, adapter_ref, model_ref

JOBS = 100
NEON = adapter_ref(NEON_FILE, AssetKind.LORA, "neon sign of")
FAST = adapter_ref(FAST_FILE, AssetKind.LORA)
TEAL = adapter_ref(TEAL_FILE, AssetKind.EMBEDDING, "<teal>")
LAID = (NEON, FAST, TEAL)
PROMPTS = (
    "a red mug",
    "a (blue:1.4) cat on a [wooden] table",
    "a <teal> hat",
    "a green tree " * 40,
    "<teal> (sign:0.7), [neon]",
)
# So much that a picture of 64 pixels needs no measure, and one of 208 needs tiles.
ROOM = OVERHEAD_BYTES + 168 * 1024**2


class Job(NamedTuple):
    """A recipe and what it is made from."""

    name: str
    recipe: dict[str, Any]
    source: bytes | None = None
    mask: bytes | None = None
    is_canceled: bool = False
    is_batched: bool = False


def picture(width: int, height: int, color: str = "teal") -> bytes:
    drawn = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(drawn).ellipse((8, 8, width - 16, height - 12), fill=color)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


def mask(width: int, height: int) -> bytes:
    drawn = Image.new("L", (width, height), 0)
    ImageDraw.Draw(drawn).rectangle((width // 4, height // 4, width // 2, height // 2), fill=255)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


def loras(*uses: tuple[ModelRef, float]) -> list[dict[str, object]]:
    return [{"digest": ref.digest, "weight": weight} for ref, weight in uses]


def special(chance: random.Random) -> list[Job]:
    """Kinds that are not just another setting."""
    seed = chance.randrange(2**32)
    start, hole = picture(64, 64), mask(64, 64)
    steps = {"num_inference_steps": 3, "seed": seed}
    tiled = {"num_inference_steps": 1, "width": 208, "height": 208}
    masked = {"inpaint_area": "masked", "mask_padding": 8}
    return [
        Job("img2img", {**steps, "prompt": "a cat", "strength": 0.6}, start),
        Job("inpaint", {**steps, "prompt": "a hat"}, start, hole),
        Job("masked area", {**steps, "prompt": "a hat", **masked}, picture(96, 80), mask(96, 80)),
        Job("outpaint", {**steps, "prompt": "a beach", "width": 96, "outpaint_right": 32}, start),
        Job("neon", {**steps, "prompt": "a mug", "loras": loras((NEON, 0.8))}),
        Job("two LoRAs", {**steps, "prompt": "a mug", "loras": loras((NEON, 0.5), (FAST, -0.3))}),
        Job("embedding", {**steps, "prompt": "a <teal> mug", "embeddings": [TEAL.digest]}),
        Job("tiles", {**steps, **tiled, "prompt": "a sea"}),
        Job("several", {**steps, "prompt": "a star", "num_images_per_prompt": 2}),
        Job("canceled", {**steps, "num_inference_steps": 60, "prompt": "a fish"}, is_canceled=True),
        Job("batch", {**steps, "prompt": "a lamp"}, is_batched=True),
        Job("upscale", {"scale": 2, "width": 80, "height": 64}, picture(40, 32)),
    ]


def make_jobs() -> list[Job]:
    chance = random.Random(7)  # noqa: S311 - to be repeatable, not secret
    jobs = [job for _ in range(4) for job in special(chance)]
    samplers = sorted(SAMPLERS)
    while len(jobs) < JOBS:
        recipe = {
            "prompt": chance.choice(PROMPTS),
            "negative_prompt": chance.choice(("", "a dog", "(gray:1.2)")),
            "seed": chance.randrange(2**32),
            "sampler": samplers[len(jobs) % len(samplers)],
            "num_inference_steps": chance.choice((2, 3)),
            "guidance_scale": chance.choice((1.0, 5.0, 7.5)),
            "clip_skip": chance.choice((0, 1)),
            "loras": loras((NEON, 0.4)) if chance.random() < 0.2 else [],
            "embeddings": [TEAL.digest] if chance.random() < 0.2 else [],
            "width": chance.choice((64, 72, 96)),
        }
        jobs.append(Job("drawn", recipe))
    return jobs


class Bench:
    """One agent that has never made anything, and what it makes of jobs."""

    def __init__(self, agent: AgentInside, model: ModelRef, upscaler: ModelRef) -> None:
        self.agent, self.model, self.upscaler = agent, model, upscaler

    def make(self, jobs: list[Job], order: list[int]) -> dict[int, list[bytes]]:
        """The files of each job, made in this order, two in hand."""
        made: dict[int, list[bytes]] = {}
        waiting: list[int] = []
        for number in order:
            if jobs[number].is_canceled or jobs[number].is_batched:
                self._make_waiting(jobs, waiting, made)
                self._make_special(jobs[number])
            else:
                waiting.append(number)
        self._make_waiting(jobs, waiting, made)
        return made

    def _make_waiting(
        self, jobs: list[Job], waiting: list[int], made: dict[int, list[bytes]]
    ) -> None:
        attempts = [self._attempt(jobs[number]) for number in waiting]
        for number, end in zip(waiting, self.agent.run(attempts), strict=True):
            assert end["status"] == "succeeded", (jobs[number], end)
        store = self.agent.studio.store
        for number, attempt in zip(waiting, attempts, strict=True):
            made[number] = [
                attempt.open_file(store, index, FileKind.PICTURE)
                for index in sorted(attempt.commits)  # two are finished at once
            ]
        waiting.clear()

    def _make_special(self, job: Job) -> None:
        """Neighbours that are not compared themselves: stopped half way, or not exact."""
        if job.is_canceled:
            assert self.agent.run_and_cancel(self._attempt(job))["status"] == "canceled"
            return
        alike = [job._replace(recipe={**job.recipe, "seed": seed}) for seed in range(3)]
        ends = self.agent.run([self._attempt(one) for one in alike])
        assert {end["status"] for end in ends} == {"succeeded"}

    def _attempt(self, job: Job) -> Attempt:
        is_upscale = "scale" in job.recipe
        small = {} if is_upscale else {"width": 64, "height": 64}
        return self.agent.studio.add_attempt(
            self.upscaler if is_upscale else self.model,
            {"prompt": "", **small, **job.recipe},
            source=job.source,
            mask=job.mask,
            adapters=LAID,
            may_batch=job.is_batched,
        )


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = make_upscaler_folder(tmp_path_factory.mktemp("upscaler"))
    return model_ref(folder, architecture=Architecture.ESRGAN, kind=AssetKind.UPSCALER)


@pytest.fixture
def benches(
    studio: FakeStudio, engine: Engine, house_ref: ModelRef, upscaler: ModelRef, tmp_path: Path
) -> Iterator[tuple[Bench, Bench]]:
    small = replace(engine, memory_bytes=ROOM)
    agents = [
        AgentInside(
            tmp_path / name,
            studio,
            small,
            models_root=Path("/"),
            batch=2,
            has_previews=name == "watched",
        )
        for name in ("watched", "unwatched")
    ]
    watched, unwatched = (Bench(agent, house_ref, upscaler) for agent in agents)
    yield watched, unwatched
    for agent in agents:
        agent.close()


def test_a_hundred_jobs_in_two_orders_give_the_same_bytes(benches: tuple[Bench, Bench]) -> None:
    watched, unwatched = benches
    jobs = make_jobs()
    order = list(range(JOBS))
    random.Random(1).shuffle(order)  # noqa: S311 - as above
    first = watched.make(jobs, list(range(JOBS)))
    second = unwatched.make(jobs, order)
    other = [jobs[number] for number in first if first[number] != second[number]]
    assert not other
    # And it was what it says: neighbours of each kind, seen and unseen.
    assert len(first) == JOBS - sum(job.is_canceled or job.is_batched for job in jobs)
    assert watched.agent.previews > JOBS
    assert unwatched.agent.previews == 0
    tiled = next(number for number, job in enumerate(jobs) if job.name == "tiles")
    with Image.open(io.BytesIO(first[tiled][0])) as opened:
        assert "vae_tiles" in str(opened.info)
