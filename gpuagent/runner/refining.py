"""Pictures that are drawn, made larger and drawn again, in one attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gpuagent.pipelines.control import Guide
from gpuagent.pipelines.encode import Pixels, open_input
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.inpaint import Known, StartingPicture
from gpuagent.pipelines.ip_adapter import Example
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.reference import Reference
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.pipelines.tiling import decode_tiles, encode_tiles
from gpuagent.pipelines.upscale import Upscaler
from gpuagent.planning.hires import refining_steps, tiles_of
from gpuagent.protocol.recipe import SCALES, Recipe
from gpuagent.protocol.tuning import LATENT
from gpuagent.runner.compute import Compute
from gpuagent.runner.controls import Following, make_guides_again
from gpuagent.runner.finishers import Refiner, find_enlarger
from gpuagent.runner.health import Health
from gpuagent.runner.models import Models
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.work import Work

if TYPE_CHECKING:
    import torch

# What stands for the starting picture of the second drawing: the first one, which has no bytes.
_DRAFT = "0" * 64


def refining_recipe(recipe: Recipe) -> Recipe:
    """The second drawing as a recipe of its own."""
    width, height = recipe.result_size
    return replace(
        recipe,
        width=width,
        height=height,
        image=_DRAFT,
        strength=recipe.hires_strength,
        num_inference_steps=recipe.hires_steps or recipe.num_inference_steps,
        hires_scale=0.0,
    )


@dataclass(slots=True)
class _Progress:
    """Counts what was done of both drawings: steps of the first, tiles of the second."""

    work: Work
    reporter: ProgressReporter
    health: Health
    model: Family
    index: int
    done: int = 0
    step: int = 0
    peek: Peek | None = None

    @property
    def of(self) -> int:
        recipe = self.work.recipe
        return recipe.denoising_steps + refining_steps(recipe) * tiles_of(recipe)

    def drafted(self, done: int, _of: int, peek: Peek) -> None:
        """A step of the first drawing."""
        self._tell(done, peek)

    def next_tile(self) -> None:
        """A tile is about to be drawn; the last of a step is told by the step."""
        self.work.held.check()
        recipe = self.work.recipe
        tiles, first = tiles_of(recipe), recipe.denoising_steps
        most = first + (self.step + 1) * tiles - 1
        if self.peek is not None and first < self.done < most:
            self._tell(self.done + 1, self.peek)

    def refined(self, done: int, _of: int, peek: Peek) -> None:
        """A step of the second drawing: all its tiles."""
        self.step = done
        recipe = self.work.recipe
        self._tell(recipe.denoising_steps + done * tiles_of(recipe), peek)

    def _tell(self, done: int, peek: Peek) -> None:
        self.done, self.peek = done, peek
        self.health.step()
        count = self.work.recipe.num_images_per_prompt
        self.reporter.step(self.index, count, done, self.of, peek, self.model.colors)


@dataclass(frozen=True, slots=True)
class Again:
    """What works on the second drawing alone."""

    guides: Sequence[Following]
    upscaler: Upscaler | None
    refiner: Refiner | None


def find_again(work: Work, models: Models, compute: Compute, refiner: Refiner | None) -> Again:
    """As the recipe asks for it.

    Raises:
        AttemptFailedError: a model or a picture cannot be read, or is of another kind.
    """
    guides = make_guides_again(work, models, compute)
    return Again(guides, find_enlarger(work, models), refiner)


@dataclass(frozen=True, slots=True)
class HiresMaker:
    """Makes the pictures of one attempt, on the compute thread."""

    work: Work
    compute: Compute
    model: Family
    embeddings: Embeddings
    start: StartingPicture | None
    guides: Sequence[Guide | Reference | Example]
    again: Again
    reporter: ProgressReporter
    health: Health

    def __call__(self, index: int) -> Pixels:
        return self.compute.run(lambda: self._make(index))

    def _make(self, index: int) -> Pixels:
        progress = _Progress(self.work, self.reporter, self.health, self.model, index)
        try:
            latents = self._draft(index, progress)
            start, guides = self._enlarged(latents)
            return self._refine(index, start, guides, progress)
        finally:
            self.health.end()

    def _draft(self, index: int, progress: _Progress) -> torch.Tensor | None:
        """The first drawing; None if the starting picture is to stay as it is."""
        recipe, began = self.work.recipe, time.monotonic()
        if not recipe.denoising_steps:
            return None
        self.health.begin(self.work.kind, recipe.denoising_steps)
        watch = Watch(check=self.work.held.check, step=progress.drafted)
        with self.model.guided(self.guides):
            latents = self.model.denoise(
                recipe, index, self.embeddings, start=self.start, watch=watch
            )
        self.work.timings.measure("denoise", began)
        return latents

    def _enlarged(self, latents: torch.Tensor | None) -> tuple[StartingPicture, list[Guide]]:
        """What the second drawing begins with, and what guides it."""
        recipe, began = self.work.recipe, time.monotonic()
        width, height = recipe.result_size
        self.health.end()
        self.work.held.check()
        scale = self.model.tiles.scale
        if latents is not None and recipe.hires_upscaler == LATENT:
            from torch.nn.functional import interpolate

            size = (height // scale, width // scale)
            larger = interpolate(latents, size, mode="bilinear", align_corners=False)
            guides = self._guided_by(partial(self._picture, latents))
            return self.model.known(larger), guides
        picture = self._picture(latents)
        if self.again.upscaler is not None:
            by = next((s for s in SCALES if s >= recipe.hires_scale), SCALES[-1])
            watch = Watch(check=self.work.held.check)
            picture = Image.fromarray(self.again.upscaler.enlarge(picture, by, watch=watch))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        encoded = encode_tiles(
            picture, recipe.hires_tile or max(width, height), scale, self._encode
        )
        guides = self._guided_by(lambda: picture)
        self.work.timings.measure("enlarge", began)
        return StartingPicture(posterior=Known(encoded)), guides

    def _guided_by(self, drawn: Callable[[], Image.Image]) -> list[Guide]:
        """The second drawing's guides; some follow the picture itself, at the size it gets."""
        ready = [each for each in self.again.guides if isinstance(each, Guide)]
        if len(ready) == len(self.again.guides):
            return ready
        large = drawn().resize(self.work.recipe.result_size, Image.Resampling.LANCZOS)
        return [each if isinstance(each, Guide) else each(large) for each in self.again.guides]

    def _picture(self, latents: torch.Tensor | None) -> Image.Image:
        recipe = self.work.recipe
        if latents is not None:
            return Image.fromarray(self.model.decode(latents))
        source = self.work.sources["image"]
        return open_input(source, width=recipe.width, height=recipe.height)

    def _encode(self, picture: Image.Image) -> torch.Tensor:
        self.work.held.check()
        encoded: torch.Tensor = self.model.take_in(picture).posterior.mode()
        return encoded

    def _refine(
        self, index: int, start: StartingPicture, guides: Sequence[Guide], progress: _Progress
    ) -> Pixels:
        recipe, began = self.work.recipe, time.monotonic()
        steps, side = refining_steps(recipe), recipe.hires_tile
        kind = (*self.work.kind, "tile", side)
        self.health.begin(kind, steps * tiles_of(recipe))
        watch = Watch(check=self.work.held.check, step=progress.refined)
        anew, refiner = refining_recipe(recipe), self.again.refiner
        side = side or max(recipe.result_size)
        with self.model.guided(guides), self.model.tiles.of(side, progress.next_tile):
            latents = self.model.denoise(
                anew,
                index,
                self.embeddings,
                start=start,
                watch=watch,
                until=None if refiner is None else anew.handover,
            )
        if refiner is not None:
            with refiner.model.tiles.of(side, progress.next_tile):
                latents = refiner.finish(anew, index, latents, start, watch)
        self.health.end()
        denoised = self.work.timings.measure("denoise", began)
        pixels = decode_tiles(latents, side, self.model.tiles.scale, self._decode)
        self.work.timings.measure("decode", denoised)
        return np.ascontiguousarray(pixels)

    def _decode(self, latents: torch.Tensor) -> Pixels:
        self.work.held.check()
        return self.model.decode(latents)
