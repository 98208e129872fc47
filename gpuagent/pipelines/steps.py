"""What happens after each call of the denoiser while a picture is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from gpuagent.pipelines.inpaint import LatentMask
from gpuagent.pipelines.preview import Floats
from gpuagent.pipelines.samplers import Foreseer
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import SAMPLERS

Peek = Callable[[], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the maker of a picture is told while it is made.

    `check` is called after every call of the denoiser and may raise to stop; `step(done, of, peek)`
    after every whole step, where `peek()` gives the latent of the picture as foreseen.
    """

    check: Callable[[], None] = lambda: None
    step: Callable[[int, int, Peek], None] = lambda _done, _of, _peek: None


class Share(Enum):
    """Which of a picture's steps a pipeline makes: those that it counts itself, or some of them."""

    ALL = auto()
    FIRST = auto()
    REST = auto()


class StepCallback:
    """Turns the pipeline's callbacks into whole steps: second-order samplers call back twice.

    `unpack` makes latents of what the pipeline has, `pack_mask(mask, pipeline)` the reverse of a
    mask, which is there only if the denoiser itself is not told of it.
    """

    def __init__(
        self,
        recipe: Recipe,
        foreseer: Foreseer,
        watch: Watch,
        mask: LatentMask | None,
        *,
        unpack: Callable[[Any], Any],
        pack_mask: Callable[[Any, Any], Any],
        share: Share = Share.ALL,
    ) -> None:
        self._share = share
        self._mask = mask
        self._unpack = unpack
        self._pack_mask = pack_mask
        self._steps, self._of = recipe.denoising_steps, recipe.num_inference_steps
        self._order = 2 if SAMPLERS[recipe.sampler].is_second_order else 1
        self._foreseer = foreseer
        self._watch = watch
        self._done = 0

    def __call__(
        self,
        pipeline: Any,  # noqa: ANN401 - no types
        number: int,
        _timestep: object,
        tensors: dict[str, Any],
    ) -> dict[str, Any]:
        self._watch.check()
        done = self._done_after(number + 1, pipeline.num_timesteps)
        if done > self._done:
            self._done = done
            foreseen = self._unpack(self._foreseer.predicted(tensors["latents"]))
            self._watch.step(done, self._steps, lambda: foreseen[0].float().cpu().numpy())
        if self._mask is None:
            return {}
        # This call ends step `number`; the mask is for the end of the next.
        calls = pipeline.num_timesteps if self._share is Share.ALL else self.calls_of(pipeline)
        mask = self._mask.at(min(1.0, (number + 2) / calls))
        return {"mask": self._pack_mask(mask, pipeline)}

    def calls_of(self, pipeline: Any) -> int:  # noqa: ANN401 - as above
        """Calls for the whole picture, of which this pipeline may make only some."""
        unmade = (self._of - self._steps) * pipeline.scheduler.order
        return len(pipeline.scheduler.timesteps) - int(unmade)

    def _done_after(self, calls: int, of: int) -> int:
        """Whole steps of the picture after so many calls of the pipeline's."""
        if self._share is Share.REST:
            return self._steps - -(-(of - calls) // self._order)
        if self._share is Share.ALL and calls >= of:
            return self._steps
        return min(calls // self._order, self._steps)
