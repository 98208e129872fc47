"""The agent's engine against a bare diffusers loop, in the same run: no web, no database.

The house model on a CPU; with `--gpu` true architectures with random weights on the GPU. Both sides
make the same pictures with the same threads, in turns; the loop has a process of its own, which is
idle meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from benchmarks._direct import Direct, Recipe, direct_loop
from benchmarks._engine_gpu import PIECES, run_on_gpu
from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.protocol.batching import batch_key
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import AssetKind
from house.recipe import MODEL
from jobs.scheduling import AgentView, Queue, Tier, WaitingJob, plan
from launcher.layout import REPOSITORY
from tests.gpuagent.in_process import AgentInside
from tests.gpuagent.support import FAST_FILE, NEON_FILE, FakeStudio, adapter_ref, model_ref

Took = tuple[float, float]  # seconds on the clock, of the processor
Measure = Callable[[], Took]

BATCH = 4
MIXED = 16
SWITCHES = 6
HOST_BYTES = 4 * 1024**3
_COLORS = ("red", "blue", "yellow", "green", "white")
_OBJECTS = ("mug", "car", "star", "apple", "house", "hat", "lamp", "fish")


@dataclass(slots=True)
class Samples:
    """Seconds of both sides, round by round: on the clock, and of the processor."""

    ours: list[Took] = field(default_factory=list)
    theirs: list[Took] = field(default_factory=list)

    def add(self, number: int, ours: Measure, theirs: Measure) -> None:
        """One round of both; who begins changes from round to round."""
        if number % 2:
            self.theirs.append(theirs())
            self.ours.append(ours())
        else:
            self.ours.append(ours())
            self.theirs.append(theirs())

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: the median of the rounds' own ratios."""
        return median(b[0] / a[0] for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def cpu_ratio(self) -> float:
        """The same by processor time: what a busy machine changes less."""
        return median(b[1] / a[1] for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def last(self) -> str:
        return f"{self.theirs[-1][0] / self.ours[-1][0]:.2f}"


@dataclass(slots=True)
class Sides:
    """Both sides, and prompts that neither has read before."""

    agent: AgentInside
    together: AgentInside
    direct: Direct
    checkpoints: tuple[ModelRef, ModelRef]
    folders: tuple[Path, Path]
    loras: tuple[ModelRef, ...]
    steps: int
    asked: int = 0

    def theirs(self, recipes: Sequence[Recipe]) -> Took:
        """What the loop takes for them."""
        outcome = self.direct.make(recipes)
        return outcome.total_s, outcome.cpu_s

    def recipes(self, count: int, **more: object) -> list[Recipe]:
        """So many, each of its own prompt and seed."""
        made: list[Recipe] = []
        for _ in range(count):
            self.asked += 1
            color, thing = _COLORS[self.asked % 5], _OBJECTS[self.asked % 8]
            prompt = f"a {color} {thing} number {self.asked}"
            usual = {
                "guidance_scale": 5.0,
                "width": 128,
                "height": 128,
                "num_inference_steps": self.steps,
            }
            made.append({**usual, "prompt": prompt, "seed": self.asked, **more})
        return made

    def ours(
        self,
        recipes: Sequence[Recipe],
        *,
        agent: AgentInside | None = None,
        refs: Sequence[ModelRef] = (),
        adapters: Sequence[tuple[ModelRef, ...]] = (),
    ) -> tuple[Took, list[dict[str, object]]]:
        """What it takes until the last picture is stored, and what each attempt measured."""
        agent = agent or self.agent
        attempts = [
            agent.studio.add_attempt(
                refs[number] if refs else self.checkpoints[0],
                {k: v for k, v in recipe.items() if k != "checkpoint"},
                adapters=adapters[number] if adapters else (),
                may_batch=agent.batch > 1,
            )
            for number, recipe in enumerate(recipes)
        ]
        began, used = time.perf_counter(), time.process_time()
        ends = agent.run(attempts)
        seconds = time.perf_counter() - began, time.process_time() - used
        assert all(end.get("status") == "succeeded" for end in ends), ends
        return seconds, [end["timings"] for end in ends]


def run(*, rounds: int, singles: int, loras: int, steps: int) -> dict[str, Figure]:
    """All figures."""
    before, engine = load(), detect_engine()
    with _sides(engine, loras, steps) as sides:
        sides.ours(sides.recipes(2))  # the first of each side pays for loading and first calls
        sides.ours(sides.recipes(BATCH + 1), agent=sides.together)
        sides.direct.make(sides.recipes(2))
        single, mixed, checkpoints, loads = Samples(), Samples(), Samples(), list[float]()
        for number in range(rounds):
            _measure_singles(sides, single, singles, number)
            _measure_mixed(sides, mixed, number)
            loads += _measure_checkpoints(sides, checkpoints, number)
            say(
                f"round {number + 1}: single {single.last}, mixed {mixed.last}, "
                f"checkpoints {checkpoints.last}"
            )
        switching = _measure_loras(sides, loras, rounds=max(1, rounds // 4))
    return {
        "single_ratio": single.ratio,
        "single_cpu_ratio": single.cpu_ratio,
        "single_s": _clock(single.ours) / singles,
        "single_direct_s": _clock(single.theirs) / singles,
        "mixed_throughput_ratio": mixed.ratio,
        "mixed_cpu_ratio": mixed.cpu_ratio,
        "mixed_s": _clock(mixed.ours),
        "mixed_direct_s": _clock(mixed.theirs),
        **switching,
        "checkpoint_switch_ratio": checkpoints.ratio,
        "checkpoint_picture_s": _clock(checkpoints.ours) / SWITCHES,
        "checkpoint_picture_direct_s": _clock(checkpoints.theirs) / SWITCHES,
        "checkpoint_load_s": median(loads),
        "batch": BATCH,
        "steps": steps,
        "loras": loras,
        "threads": engine.threads,
        "load_before": before,
        "load_after": load(),
    }


def _clock(took: Sequence[Took]) -> float:
    return median(seconds for seconds, _cpu in took)


def _measure_singles(sides: Sides, samples: Samples, count: int, number: int) -> None:
    """One after the other, as the agent has them: one at work, the next fetched."""
    recipes = sides.recipes(count)
    samples.add(number, lambda: sides.ours(recipes)[0], lambda: sides.theirs(recipes))


def _measure_mixed(sides: Sides, samples: Samples, number: int) -> None:
    """Eleven of one size and five of another, mixed, as many people send them."""
    recipes = [
        {**recipe, "width": side, "height": side}
        for place, recipe in enumerate(sides.recipes(MIXED))
        for side in (160 if place % 3 == 2 else 128,)
    ]
    given = _as_scheduled(recipes, sides.checkpoints[0])
    samples.add(
        number,
        lambda: sides.ours(given, agent=sides.together)[0],
        lambda: sides.theirs(recipes),
    )


def _as_scheduled(recipes: Sequence[Recipe], ref: ModelRef) -> list[Recipe]:
    """In the order in which the studio's scheduler gives them to an agent: what can be made in one
    batch together.
    """
    waiting = [
        WaitingJob(
            id=str(place),
            organization_id=f"org_{place}",
            user_id=f"usr_{place}",
            tier=Tier.FAST,
            model_digest=ref.digest,
            cost_seconds=1.0,
            memory_bytes=0,
            submitted_at=float(place),
            batch_key=batch_key(parse_recipe({**recipe, "model": ref.digest})),
        )
        for place, recipe in enumerate(recipes)
    ]
    agent = AgentView(
        id="agt_1",
        free_slots=1,
        memory_bytes=0,
        resident=frozenset([ref.digest]),
        batch_limit=BATCH,
    )
    queue, order = Queue(waiting=waiting), list[int]()
    while queue:
        placements = plan(queue, [agent], now=float(len(recipes))).placements
        order += [int(placement.job_id) for placement in placements]
    return [recipes[place] for place in order]


def _measure_checkpoints(sides: Sides, samples: Samples, number: int) -> list[float]:
    """Each picture from the other of two: kept in memory by us, loaded from disk by the loop.

    How long each of ours took to have its model.
    """
    loads: list[float] = []
    turns = [place % 2 for place in range(SWITCHES)]
    recipes = [
        {**recipe, "checkpoint": str(sides.folders[turn])}
        for recipe, turn in zip(sides.recipes(SWITCHES), turns, strict=True)
    ]
    refs = [sides.checkpoints[turn] for turn in turns]

    def ours() -> Took:
        seconds, timings = sides.ours(recipes, refs=refs)
        loads.extend(float(str(one["load"])) for one in timings)
        return seconds

    samples.add(number, ours, lambda: sides.theirs(recipes))
    # What comes next is measured with the first one loaded, on both sides.
    sides.direct.make([{**sides.recipes(1)[0], "checkpoint": str(sides.folders[0])}])
    sides.ours(sides.recipes(1))
    return loads


def _measure_loras(sides: Sides, count: int, *, rounds: int) -> dict[str, Figure]:
    """Another LoRA for each picture, against one LoRA for all: what is more is the switching. By
    processor time, or noise of a hundred pictures would hide what it is. Fetching each for the
    first time is counted by itself.
    """
    _took, first = _with_loras(sides, sides.recipes(count), sides.loras)
    shares, laying = [], []
    for _ in range(rounds):
        same, _timings = _with_loras(sides, sides.recipes(count), sides.loras[:1])
        changing, timings = _with_loras(sides, sides.recipes(count), sides.loras)
        shares.append(1 - same[1] / changing[1])
        laying += [float(str(one["adapters"])) for one in timings]
    return {
        "lora_switch_share": median(shares),
        "lora_lay_s": median(laying),
        "lora_first_fetch_s": median(float(str(one["fetch"])) for one in first),
    }


def _with_loras(
    sides: Sides, recipes: Sequence[Recipe], loras: Sequence[ModelRef]
) -> tuple[Took, list[dict[str, object]]]:
    chosen = [loras[number % len(loras)] for number in range(len(recipes))]
    laid = [
        {**recipe, "loras": [{"digest": ref.digest, "weight": 0.5}]}
        for recipe, ref in zip(recipes, chosen, strict=True)
    ]
    return sides.ours(laid, adapters=[(ref,) for ref in chosen])


@contextmanager
def _sides(engine: Engine, loras: int, steps: int) -> Iterator[Sides]:
    with tempfile.TemporaryDirectory(prefix="studio-engine-") as folder, ExitStack() as opened:
        root = Path(folder)
        folders = (REPOSITORY / MODEL, root / "other")
        shutil.copytree(folders[0], folders[1])
        (folders[1] / "number.txt").write_text("another checkpoint")
        (root / "store").mkdir()
        studio = FakeStudio(root / "store")
        opened.callback(studio.close)

        def agent(name: str, batch: int) -> AgentInside:
            made = AgentInside(
                root / name,
                studio,
                engine,
                models_root=Path("/"),
                host_bytes=HOST_BYTES,
                batch=batch,
            )
            opened.callback(made.close)
            return made

        yield Sides(
            agent=agent("single", 1),
            together=agent("together", BATCH),
            direct=opened.enter_context(direct_loop(engine.threads)),
            checkpoints=(model_ref(folders[0]), model_ref(folders[1])),
            folders=folders,
            loras=tuple(_loras(root / "loras", loras)),
            steps=steps,
        )


def _loras(folder: Path, count: int) -> Iterator[ModelRef]:
    """The house's own two, and others of their shape with random numbers."""
    from safetensors.torch import load_file, save_file

    yield adapter_ref(NEON_FILE, AssetKind.LORA)
    yield adapter_ref(FAST_FILE, AssetKind.LORA)
    shapes = load_file(NEON_FILE)
    for number in range(count - 2):
        drawn = torch.Generator().manual_seed(number)
        tensors = {
            name: torch.randn(tensor.shape, generator=drawn) * 0.01
            for name, tensor in shapes.items()
        }
        path = folder / str(number) / NEON_FILE.name
        path.parent.mkdir(parents=True)
        save_file(tensors, path)
        yield adapter_ref(path, AssetKind.LORA)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="four rounds, 50 LoRAs, 20 steps")
    parser.add_argument("--gpu", action="store_true", help="true sizes on a CUDA device instead")
    parser.add_argument("--only", choices=PIECES, nargs="+", default=(), help="pieces of --gpu")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: without one"
    )
    parser.add_argument("--tiny", action="store_true", help="--gpu with tiny models")
    given = parser.parse_args(arguments)
    if given.device == "cpu" and not given.tiny:
        parser.error("true sizes take hours on a CPU: say --tiny, too")
    clean_up_on_signals()
    if given.gpu:
        finish(run_on_gpu(given.only, device=given.device, is_tiny=given.tiny))
    elif given.full:
        finish(run(rounds=4, singles=6, loras=50, steps=20))
    else:
        finish(run(rounds=2, singles=4, loras=10, steps=10))


if __name__ == "__main__":
    main()
