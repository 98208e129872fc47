"""How the engine lives on a GPU: LoRAs that change with every picture, cancels, first previews,
checkpoints that come from pinned memory. On any model that lies in a folder.

Written without a GPU at hand: `tests/test_engine_benchmark.py` runs it on a CPU with a tiny model.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import torch

from benchmarks._report import Figure, say
from gpuagent.pipelines.engine import Engine
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import Architecture, AssetKind
from gpuagent.runner.held import Stop
from tests.gpuagent.in_process import AgentInside
from tests.gpuagent.support import FakeStudio, adapter_ref, model_ref

_RANK = 8
_ATTENTION = (".to_q", ".to_k", ".to_v")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, and what is asked of it."""

    engine: Engine
    root: Path
    folder: str
    architecture: Architecture
    side: int
    steps: int
    more: dict[str, object] = field(default_factory=dict)

    @property
    def ref(self) -> ModelRef:
        return model_ref(self.root / self.folder, name=self.folder, architecture=self.architecture)

    def recipe(self, seed: int) -> dict[str, object]:
        return {
            "prompt": f"a mug {seed}",
            "seed": seed,
            "width": self.side,
            "height": self.side,
            "num_inference_steps": self.steps,
            "sampler": "euler",
            **self.more,
        }

    @contextmanager
    def agent(
        self, name: str, *, engine: Engine | None = None, host_bytes: int = 0, batch: int = 1
    ) -> Iterator[AgentInside]:
        """One with a studio of its own."""
        store = self.root / f"{name}-store"
        store.mkdir()
        studio = FakeStudio(store)
        agent = AgentInside(
            *(self.root / name, studio, engine or self.engine),
            models_root=self.root,
            host_bytes=host_bytes,
            batch=batch,
        )
        try:
            yield agent
        finally:
            agent.models.release()
            agent.close()
            studio.close()


def measure_loras(subject: Subject, *, count: int) -> dict[str, Figure]:
    """Another LoRA for each picture, against one for all; and whether torch compiled anything."""
    from torch._dynamo.utils import counters

    ref = subject.ref
    loras = list(_loras(subject, count))
    counters.clear()
    with subject.agent("loras") as agent:

        def seconds(chosen: list[ModelRef]) -> tuple[float, list[float]]:
            attempts = [
                agent.studio.add_attempt(
                    ref,
                    {**subject.recipe(n), "loras": [{"digest": lora.digest, "weight": 0.5}]},
                    adapters=(lora,),
                )
                for n, lora in enumerate(chosen)
            ]
            began = time.perf_counter()
            ends = agent.run(attempts)
            took = time.perf_counter() - began
            assert all(end["status"] == "succeeded" for end in ends), ends
            return took, [float(end["timings"]["adapters"]) for end in ends]

        seconds(loras[:2])
        same, _ = seconds(loras[:1] * count)
        changing, laid = seconds(loras)
    compiled = sum(sum(each.values()) for each in counters.values())
    share = 1 - same / changing
    say(f"{count} LoRAs: {share:.1%} of a picture for the switch, {compiled} times compiled")
    return {
        "gpu_lora_switch_share": share,
        "gpu_lora_lay_s": median(laid),
        "gpu_lora_count": count,
        "gpu_lora_recompiles": compiled,
    }


def _loras(subject: Subject, count: int) -> Iterator[ModelRef]:
    """For the attention of a model, with random numbers."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    part = "unet" if (subject.root / subject.folder / "unet").is_dir() else "transformer"
    shapes: dict[str, list[int]] = {}
    for file in sorted((subject.root / subject.folder / part).glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                bare = name.removesuffix(".weight")
                if bare.endswith(_ATTENTION) and name != bare:
                    shapes[bare] = opened.get_slice(name).get_shape()
    for number in range(count):
        drawn = torch.Generator().manual_seed(number)
        tensors = {}
        for name, (high, wide) in shapes.items():
            for side, shape in (("A", (_RANK, wide)), ("B", (high, _RANK))):
                key = f"{part}.{name}.lora_{side}.weight"
                tensors[key] = (torch.randn(shape, generator=drawn) * 0.01).half()
        path = subject.root / "loras-of" / str(number) / "lora.safetensors"
        path.parent.mkdir(parents=True)
        save_file(tensors, path)
        yield adapter_ref(path, AssetKind.LORA)


def measure_batches(subject: Subject, *, rounds: int) -> dict[str, Figure]:
    """Pictures a second of strangers, alone and by four; all ask at once."""
    ref, figures = subject.ref, dict[str, Figure]()
    for batch in (1, 4):
        with subject.agent(f"batches-{batch}", batch=batch) as agent:
            found = list[float]()
            for number in range(rounds + 1):
                attempts = [
                    agent.studio.add_attempt(
                        ref, subject.recipe(9 * number + n), may_batch=batch > 1
                    )
                    for n in range(9)
                ]
                began = time.perf_counter()
                ends = agent.run(attempts)
                found.append(len(attempts) / (time.perf_counter() - began))
                assert all(end["status"] == "succeeded" for end in ends), ends
        figures[f"{subject.folder}_batch{batch}_per_s"] = median(found[1:])
    return figures


def measure_liveliness(subject: Subject, *, rounds: int) -> dict[str, Figure]:
    """From the request to the first preview, and from a cancel to the end; the model is warm."""
    ref = subject.ref
    previews, cancels = list[float](), list[float]()
    with subject.agent("live") as agent:
        (end,) = agent.run([agent.studio.add_attempt(ref, subject.recipe(0))])
        assert end["status"] == "succeeded", end
        for number in range(1, rounds + 1):
            shown, canceled = _show_and_cancel(agent, ref, subject.recipe(number))
            previews.append(shown)
            cancels.append(canceled)
        told = agent.models.learned.to_wire()
    figures = {
        "first_preview_ms": median(previews) * 1000,
        "cancel_ms": median(cancels) * 1000,
        "cancel_worst_ms": max(cancels) * 1000,
    }
    say(", ".join(f"{name} {value:.0f}" for name, value in figures.items()))
    return {**figures, "live_plans_checked": int(str(told["plans_checked"]))}


def _show_and_cancel(
    agent: AgentInside, ref: ModelRef, recipe: dict[str, object]
) -> tuple[float, float]:
    """Until the first preview was sealed and sent, and from a cancel right then to the end."""
    attempt, before = agent.studio.add_attempt(ref, recipe), agent.previews
    began = time.perf_counter()
    running = threading.Thread(target=agent.run, args=([attempt],))
    running.start()
    while running.is_alive() and agent.previews == before:
        time.sleep(0.0005)
    shown = time.perf_counter()
    agent.held.stop([attempt.id], Stop.CANCELED)
    running.join()
    return shown - began, time.perf_counter() - shown


def measure_switching(subject: Subject, *, switches: int) -> dict[str, Figure]:
    """Two checkpoints in turns on a device that holds one; the other waits in host memory.

    That of a GPU is pinned.
    """
    shutil.copytree(subject.root / subject.folder, subject.root / "other")
    (subject.root / "other" / "number.txt").write_text("another")
    refs = [subject.ref, replace(subject, folder="other").ref]
    weights = sum(f.size_bytes for f in refs[0].files if f.path.endswith(".safetensors"))
    small = replace(subject.engine, memory_bytes=_room_for_one(subject, refs[0], weights))
    loads = []
    with subject.agent("switching", engine=small, host_bytes=3 * weights + 2**30) as agent:
        for number in range(switches):
            attempt = agent.studio.add_attempt(refs[number % 2], subject.recipe(number))
            (end,) = agent.run([attempt])
            assert end["status"] == "succeeded", end
            if end["timings"]["load_source"] == "host":
                loads.append(end["timings"]["load"])
    return {
        "switch_s": median(loads) if loads else None,
        "switches": len(loads),
        "switch_gib": weights / 2**30,
    }


def _room_for_one(subject: Subject, ref: ModelRef, weights: int) -> int:
    """Memory for one model at work, and not quite for half of another."""
    with subject.agent("asking") as agent:
        agent.models.fetch(ref)
        asked = parse_recipe({**subject.recipe(1), "model": ref.digest})
        return agent.models.plan(ref, asked).needed_bytes + weights // 4
