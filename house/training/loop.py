"""One training run: learning rate, averaged weights, checkpoints that survive a kill, a curve."""

from __future__ import annotations

import json
import os
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

    The rate rises over `warmup` steps, stays, and falls almost to nothing over the last `decay`
    (a share of the steps). A run that is given more steps later goes on from its last checkpoint
    at the rate the longer plan says.
    """

    steps: int
    warmup: int = 100
    decay: float = 0.4
    average: float = 0.999
    clip: float = 1.0
    muon: bool = True

    @property
    def falls_at(self) -> int:
        """The step at which the rate begins to fall; its checkpoint is kept as `stable.pt`."""
        return round(self.steps * (1 - self.decay))

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
        of: str = "",
    ) -> None:
        """`of` names what the run builds upon (a digest): one begun upon another is refused."""
        self.folder, self.modules, self.plan, self.of = folder, dict(modules), plan, of
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
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._trained, self.plan.clip)
        self._optimizer.step(self.plan.rate(self.step))
        if self.step == self.plan.falls_at:
            self.save("stable.pt")
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

    def save(self, name: str = "checkpoint.pt") -> None:
        """Write the checkpoint; a kill or a power cut leaves the one before."""
        state: dict[str, Any] = {
            "of": self.of,
            "weights": [weight.detach() for weight in self._trained],
            "buffers": {name: dict(module.named_buffers()) for name, module in self._named()},
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "samples": self.samples,
            "seconds": self._elapsed(),
        }
        partial = self.folder / f"{name}.part"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / name)
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one.

        Raises:
            SystemExit: it builds upon something else, or is of other parts than these.
        """
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        shapes = [tuple(weight.shape) for weight in state["weights"]]
        if state["of"] != self.of or shapes != [tuple(p.shape) for p in self._trained]:
            raise SystemExit(f"{path} is of another model; remove {self.folder} to begin anew.")
        with torch.no_grad():
            for weight, kept in zip(self._trained, state["weights"], strict=True):
                weight.copy_(kept)
            for name, module in self._named():
                for key, buffer in module.named_buffers():
                    buffer.copy_(state["buffers"][name][key])
        self._optimizer.load_state_dict(state["optimizer"])
        self._average = state["average"]
        self.step, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        self._forget_later_points()
        print(f"going on from step {self.step:,}", flush=True)
        return True

    def _named(self) -> list[tuple[str, nn.Module]]:
        return list(self.modules.items())

    def _forget_later_points(self) -> None:
        """What was learnt after the checkpoint was lost, and so is its part of the curve."""
        curve = self.folder / "curve.jsonl"
        if curve.exists():
            lines = curve.read_text().splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            curve.write_text("".join(kept))

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
    # Not a public name: where it is gone we are slower, not wrong.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    able = device == "cuda" or bool(probe())
    return torch.autocast(device, dtype=torch.bfloat16, enabled=able)
