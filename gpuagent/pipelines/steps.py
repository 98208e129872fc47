"""What happens after each call of the denoiser while a picture is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


class StepCallback:
    """Turns the pipeline's callbacks into whole steps: second-order samplers call back twice."""

    def __init__(
        self,
        recipe: Recipe,
        foreseer: Foreseer,
        watch: Watch,
        mask: LatentMask | None,
        *,
        is_told_the_mask: bool,
        unpack: Callable[[Any], Any],
    ) -> None:
        self._mask = None if is_told_the_mask else mask
        self._unpack = unpack
        self._steps = recipe.denoising_steps
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
        is_last = number + 1 >= pipeline.num_timesteps
        done = self._steps if is_last else min((number + 1) // self._order, self._steps)
        if done > self._done:
            self._done = done
            foreseen = self._unpack(self._foreseer.predicted(tensors["latents"]))
            self._watch.step(done, self._steps, lambda: foreseen[0].float().cpu().numpy())
        if self._mask is None:
            return {}
        # This call ends step `number`; the mask is for the end of the next.
        mask = self._mask.at(min(1.0, (number + 2) / pipeline.num_timesteps))
        return {"mask": mask.repeat(1 + pipeline.do_classifier_free_guidance, 1, 1, 1)}
