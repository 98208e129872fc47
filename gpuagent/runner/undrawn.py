"""The picture of an attempt that draws nothing: larger, without its background, or a map."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TypeGuard

from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.cutout import Cutter
from gpuagent.pipelines.encode import Pixels, fit, open_picture
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.mapper import Mapper
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.pipelines.upscale import Upscaler, picture_colors
from gpuagent.planning.cutting import steps_of
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.runner.compute import Compute
from gpuagent.runner.health import Health
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.work import Work


def can_make(model: LoadedModel, recipe: Recipe) -> TypeGuard[Upscaler | Cutter | Mapper]:
    """Whether the recipe draws nothing and the model is of the kind that it needs."""
    if recipe.is_upscale:
        return isinstance(model, Upscaler)
    if recipe.map_kind is not None:
        return isinstance(model, Mapper) and model.kind is recipe.map_kind
    return recipe.cutout and isinstance(model, Cutter)


@dataclass(frozen=True, slots=True)
class UndrawnMaker:
    """Works on the starting picture on the compute thread; steps are tiles, or bands of rows."""

    work: Work
    compute: Compute
    model: Upscaler | Cutter | Mapper
    reporter: ProgressReporter
    health: Health

    def __call__(self, index: int) -> Pixels:
        return self.compute.run(lambda: self._make(index))

    def _make(self, index: int) -> Pixels:
        timings = self.work.timings
        began = time.monotonic()
        picture = self._open()
        timings.measure("decode", began)
        began = time.monotonic()
        self.health.begin(self.work.kind, self._steps(picture))
        try:
            made = self._work_on(picture, self._watch(index))
        finally:
            self.health.end()
        timings.measure("denoise", began)
        return made

    def _steps(self, picture: Image.Image) -> int:
        if isinstance(self.model, Mapper):
            return 1
        if isinstance(self.model, Cutter):
            return steps_of(picture.height)
        return self.model.steps_of(picture.size, self.work.recipe.scale)

    def _work_on(self, picture: Image.Image, watch: Watch) -> Pixels:
        recipe, model = self.work.recipe, self.model
        if isinstance(model, Upscaler):
            return model.enlarge(picture, recipe.scale, watch=watch)
        if isinstance(model, Mapper):
            return model.make(picture, watch=watch)
        return model.cut(picture, edge=recipe.cutout_edge, result=recipe.cutout_result, watch=watch)

    def _open(self) -> Image.Image:
        """The starting picture, of the size that was counted on; a map has one of its own."""
        recipe = self.work.recipe
        picture = open_picture(self.work.sources["image"])
        if recipe.map_kind is not None:
            return fit(picture, recipe.width, recipe.height)
        width, height = picture.size
        scale = max(1, recipe.scale)
        if (width * scale, height * scale) != (recipe.width, recipe.height):
            raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="another size")
        return picture

    def _watch(self, index: int) -> Watch:
        colors = picture_colors()

        def step(done: int, of: int, peek: Peek) -> None:
            self.health.step()
            self.reporter.step(index, 1, done, of, peek, colors)

        return Watch(check=self.work.held.check, step=step)
