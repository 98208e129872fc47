"""The pictures of an attempt that are drawn once, at the size they are to have."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gpuagent.pipelines.canvas import Canvas, CanvasColors
from gpuagent.pipelines.control import Guide
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.pipelines.ip_adapter import Example
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.reference import Reference
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.runner.compute import Compute
from gpuagent.runner.finishers import Refiner
from gpuagent.runner.health import Health
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.work import Work


@dataclass(frozen=True, slots=True)
class DrawnMaker:
    """Makes the pictures of one attempt, on the compute thread."""

    work: Work
    compute: Compute
    model: Family
    embeddings: Embeddings
    start: StartingPicture | None
    canvas: Canvas | None
    guides: tuple[Guide | Reference | Example, ...]
    refiner: Refiner | None
    reporter: ProgressReporter
    health: Health

    def __call__(self, index: int) -> Pixels:
        return self.compute.run(lambda: self._make(index))

    def _make(self, index: int) -> Pixels:
        timings, recipe = self.work.timings, self.work.recipe
        began = time.monotonic()
        self.health.begin(self.work.kind, recipe.denoising_steps)
        try:
            with self.model.guided(self.guides):
                latents = self.model.denoise(
                    recipe,
                    index,
                    self.embeddings,
                    start=self.start,
                    watch=self._watch(index),
                    until=None if self.refiner is None else recipe.handover,
                )
            if self.refiner is not None:
                latents = self.refiner.finish(
                    recipe, index, latents, self.start, self._watch(index)
                )
            denoised = timings.measure("denoise", began)
            # Still watched: on a GPU, steps that were only queued are waited for here.
            pixels = self.model.decode(latents)
        finally:
            self.health.end()
        if self.canvas is not None:
            pixels = self.canvas.finish(pixels)
        timings.measure("decode", denoised)
        return pixels

    def _watch(self, index: int) -> Watch:
        count, colors = self.work.recipe.num_images_per_prompt, self.model.colors
        if self.canvas is not None:
            colors = CanvasColors.of(colors, self.canvas)

        def step(done: int, of: int, peek: Peek) -> None:
            self.health.step()
            self.reporter.step(index, count, done, of, peek, colors)

        return Watch(check=self.work.held.check, step=step)
