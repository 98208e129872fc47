"""One training run: learning rate, averaged weights, checkpoints that survive a kill, a curve."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from house.training.optimizer import Mixed

REPORT_EVERY_S = 20.0
SAVE_EVERY_S = 240.0


@dataclass(frozen=True)
class Plan:
    """How long a run goes and how its learning rate moves.

    The rate rises over `warmup` steps, stays, and falls to nothing over the last `decay` (share
    of the steps). A run that is given more steps later goes on from its last checkpoint at the
    rate the longer plan says.
    """

    steps: int
    warmup: int = 100
    decay: float = 0.4
    average: float = 0.999
    clip: float = 1.0
    muon: bool = True

    def rate(self, step: int) -> float:
        """The learning rate at `step`, as a share of the highest."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, (step + 1) / self.warmup, max(0.0, left)) + 1e-3


class Run:
    """Modules in training, and their averaged weights beside them."""

    def __init__(
        self,
        folder: Path,
        modules: Mapping[str, nn.Module],
        groups: Iterable[tuple[Iterable[nn.Parameter], float]],
        plan: Plan,
    ) -> None:
        self.folder, self.modules, self.plan = folder, dict(modules), plan
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self._optimizer = Mixed(groups, muon=plan.muon)
        self._trained = self._optimizer.trained
        self._average = [p.detach().clone() for p in self._trained]
        self._losses: list[torch.Tensor] = []
        self._reported = self._saved = self._began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def done(self) -> bool:
        return self.step >= self.plan.steps

    def learn(self, loss: torch.Tensor, samples: int) -> None:
        """One step down the gradient of `loss`."""
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, self.plan.clip)
        self._optimizer.step(self.plan.rate(self.step))
        self.step, self.samples = self.step + 1, self.samples + samples
        keep = min(self.plan.average, (1 + self.step) / (12 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, [p.detach() for p in self._trained], 1 - keep)
        self._losses.append(loss.detach())
        self._report()

    def averaged(self) -> None:
        """Put the averaged weights into the modules, for measuring and saving."""
        with torch.no_grad():
            for weight, average in zip(self._trained, self._average, strict=True):
                weight.copy_(average)

    def swap(self) -> None:
        """Exchange trained and averaged weights (twice is nothing), for samples on the way."""
        with torch.no_grad():
            for weight, average in zip(self._trained, self._average, strict=True):
                kept = weight.clone()
                weight.copy_(average)
                average.copy_(kept)

    def save(self) -> None:
        """Write the checkpoint; a kill leaves the one before."""
        state: dict[str, Any] = {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "samples": self.samples,
            "seconds": self._elapsed(),
        }
        partial = self.folder / "checkpoint.part"
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._average = state["average"]
        self.step, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        print(f"going on from step {self.step:,}", flush=True)
        return True

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._began

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._saved > SAVE_EVERY_S:
            self.save()
        if now - self._reported < REPORT_EVERY_S and not self.done:
            return
        loss = torch.stack(self._losses).mean().item()
        point = {
            "step": self.step,
            "samples": self.samples,
            "seconds": round(self._elapsed(), 1),
            "loss": round(loss, 5),
            "rate": round(self.plan.rate(self.step), 4),
        }
        with (self.folder / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(point) + "\n")
        speed = len(self._losses) / (now - self._reported)
        progress = f"step {self.step:,}/{self.plan.steps:,} loss {loss:.4f} {speed:.2f} steps/s"
        print(f"{point['seconds']:.0f} s {progress}", flush=True)
        self._losses, self._reported = [], now


def fast_math(device: str = "cpu") -> torch.autocast:
    """Half precision where the processor has instructions for it; full precision elsewhere.

    On a processor without them bfloat16 is emulated, sixty times slower than float32.
    """
    able = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device, dtype=torch.bfloat16, enabled=able)
