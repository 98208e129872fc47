"""Model versions made ready: fetched, verified, loaded, kept while memory lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.residency import Residency
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.registry import load_model, weights_bytes
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.planning.memory import OVERHEAD_BYTES, Estimate, estimate, largest_side
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.runner.compute import Compute
from gpuagent.runner.failures import is_out_of_memory
from gpuagent.runner.logs import log_event

T = TypeVar("T")


class Models:
    """Gives loaded models. `loaded` is to be called in the compute turn only."""

    def __init__(
        self,
        cache: FileCache,
        engine: Engine,
        compute: Compute,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._cache = cache
        self._engine = engine
        self._compute = compute
        self._on_change = on_change
        self._residency: Residency[StableDiffusion15] = Residency(
            max(0, engine.memory_bytes - OVERHEAD_BYTES), on_evict=self._free
        )

    @property
    def warm(self) -> tuple[str, ...]:
        """Digests of resident models."""
        return self._residency.warm

    def fetch(self, ref: ModelRef) -> None:
        """Have the files here; may run while another attempt computes."""
        if self._residency.get(ref.digest) is None:
            self._cache.folder(ref)

    def plan(self, ref: ModelRef, recipe: Recipe, *, picture_pixels: int = 0) -> Estimate:
        """The memory a picture needs, made from one of so many pixels.

        Raises:
            AttemptFailedError: it does not fit on this device at all.
        """
        weights = self._weights_bytes(ref)
        need = estimate(recipe, weights_bytes=weights, picture_pixels=picture_pixels)
        available = self._engine.memory_bytes
        if need.total_bytes > available:
            raise AttemptFailedError(
                FailureCode.DOES_NOT_FIT,
                width=recipe.width,
                height=recipe.height,
                needed_bytes=need.total_bytes,
                available_bytes=available,
                largest_side=largest_side(available_bytes=available, weights_bytes=weights),
            )
        return need

    def loaded(self, ref: ModelRef, need: Estimate | None = None) -> StableDiffusion15:
        """The model, resident, with room for a picture of `need` beside it.

        Raises:
            AttemptFailedError: its files are not a model of its architecture.
        """
        model = self._residency.get(ref.digest)
        weights = self._weights_bytes(ref)
        self._make_room(weights if model is None else 0, need, keep=ref.digest)
        if model is None:
            model = self._load(ref)
            self._residency.put(ref.digest, model, model.weights_bytes)
            self._on_change()
        return model

    def fits_beside(self, ref: ModelRef, wanted: tuple[str, ...]) -> bool:
        """True if the model can be loaded without pushing out one of `wanted`."""
        keep = sum(m.weights_bytes for d in wanted if (m := self._residency.get(d)) is not None)
        return keep + self._weights_bytes(ref) <= self._residency.budget_bytes

    def release(self) -> None:
        """Free what can be freed, after memory ran out."""
        self._residency.shrink(0)
        self._free()
        self._on_change()

    def _weights_bytes(self, ref: ModelRef) -> int:
        model = self._residency.get(ref.digest)
        if model is not None:
            return model.weights_bytes
        return self._with_files(ref, lambda folder: weights_bytes(folder, self._engine))

    def _with_files(self, ref: ModelRef, read: Callable[[Path], T]) -> T:
        """Read the files; if they cannot be read, fetch and verify them again, once.

        The disk may have lost what was verified when it was fetched.
        """
        folder = self._cache.folder(ref)
        try:
            return read(folder)
        except AttemptFailedError as error:
            if error.code is not FailureCode.MODEL_UNREADABLE:
                raise
        self._cache.forget(ref)
        return read(self._cache.folder(ref))

    def _make_room(self, coming_bytes: int, need: Estimate | None, *, keep: str) -> None:
        activations = need.activation_bytes if need is not None else 0
        room = self._residency.budget_bytes - coming_bytes - activations
        if self._residency.shrink(max(0, room), keep=keep):
            self._on_change()

    def _load(self, ref: ModelRef) -> StableDiffusion15:
        began = time.monotonic()
        model = self._with_files(ref, lambda folder: self._load_from(ref, folder))
        log_event(
            "model.loaded",
            digest=ref.digest[:8],
            bytes=model.weights_bytes,
            seconds=time.monotonic() - began,
        )
        return model

    def _load_from(self, ref: ModelRef, folder: Path) -> StableDiffusion15:
        notes = self._cache.notes(ref.digest)
        try:
            return self._compute.run(lambda: load_model(ref, folder, self._engine, notes=notes))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise AttemptFailedError(
                FailureCode.MODEL_UNREADABLE, reason=type(error).__name__
            ) from error

    def _free(self) -> None:
        if self._engine.device == "cuda":
            import torch

            torch.cuda.empty_cache()
