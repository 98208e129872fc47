"""The picture of an attempt that only enlarges one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import Pixels, open_picture
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.pipelines.upscale import Upscaler, picture_colors
from gpuagent.planning.upscaling import tiles_of
from gpuagent.protocol.failures import FailureCode
from gpuagent.runner.compute import Compute
from gpuagent.runner.health import Health
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.work import Work


@dataclass(frozen=True, slots=True)
class UpscaleMaker:
    """Enlarges the starting picture on the compute thread; its steps are tiles."""

    work: Work
    compute: Compute
    model: Upscaler
    reporter: ProgressReporter
    health: Health

    def __call__(self, index: int) -> Pixels:
        return self.compute.run(lambda: self._make(index))

    def _make(self, index: int) -> Pixels:
        recipe, timings = self.work.recipe, self.work.timings
        began = time.monotonic()
        picture = self._open()
        timings.measure("decode", began)
        began = time.monotonic()
        self.health.begin(self.work.kind, tiles_of(*picture.size))
        try:
            made = self.model.enlarge(picture, recipe.scale, watch=self._watch(index))
        finally:
            self.health.end()
        timings.measure("denoise", began)
        return made

    def _open(self) -> Image.Image:
        """The starting picture, of the size that was counted on."""
        recipe = self.work.recipe
        picture = open_picture(self.work.sources["image"])
        width, height = picture.size
        if (width * recipe.scale, height * recipe.scale) != (recipe.width, recipe.height):
            raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="another size")
        return picture

    def _watch(self, index: int) -> Watch:
        colors = picture_colors()

        def step(done: int, of: int, peek: Peek) -> None:
            self.health.step()
            self.reporter.step(index, 1, done, of, peek, colors)

        return Watch(check=self.work.held.check, step=step)
