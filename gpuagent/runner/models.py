"""Model versions made ready: fetched, verified, loaded, kept while memory lasts.

Three layers: the device, host memory, the disk (and behind it the store). What leaves the device
goes on in host memory within its budget, so that a swap back is short. On a GPU the copy in host
memory is pinned and stays while the model is on the device too, so leaving costs nothing; on a CPU
both are the same memory, counted in two budgets.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.residency import Residency
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.registry import LoadedModel, load_model, measure_parts, tile_side
from gpuagent.planning.cutting import plan_cutout
from gpuagent.planning.footprints import footprint_of
from gpuagent.planning.hires import drawn_size
from gpuagent.planning.mapping import plan_map
from gpuagent.planning.memory import OVERHEAD_BYTES, held_bytes, mapping_bytes, opened_bytes
from gpuagent.planning.plan import (
    LADDER,
    Measure,
    Parts,
    Plan,
    Room,
    Verdict,
    Work,
    evictions,
    make_plan,
)
from gpuagent.planning.upscaling import TILE_BYTES, plan_upscale
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import AssetKind
from gpuagent.runner.adapters import Adapters
from gpuagent.runner.compute import Compute
from gpuagent.runner.failures import is_out_of_memory
from gpuagent.runner.freeing import give_back_freed
from gpuagent.runner.learned import Learned
from gpuagent.runner.ledger import Ledger
from gpuagent.runner.logs import log_event
from gpuagent.runner.pins import Pins


class Models:
    """Gives loaded models. `loaded` and `to_host` are to be called in the compute turn only."""

    def __init__(
        self,
        cache: FileCache,
        engine: Engine,
        compute: Compute,
        *,
        host_bytes: int = 0,
        learned: Learned | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._cache = cache
        self._engine = engine
        self._compute = compute
        self._on_change = on_change
        self._pins = Pins()
        self.adapters = Adapters(cache, memory_bytes=engine.memory_bytes)
        self._facts: dict[str, tuple[Parts, int]] = {}
        self.ledger = Ledger()
        self.learned = learned or Learned(engine)
        self._device: Residency[LoadedModel] = Residency(
            max(0, engine.memory_bytes - OVERHEAD_BYTES),
            is_pinned=self._pins.__contains__,
            on_evict=self._left_device,
        )
        self._host: Residency[LoadedModel] = Residency(
            host_bytes, is_pinned=self._pins.__contains__, on_evict=self._left_host
        )

    @property
    def warm(self) -> tuple[str, ...]:
        """Digests of models on the device."""
        return self._device.warm

    @property
    def at_hand(self) -> tuple[str, ...]:
        """Digests of models on the device or in host memory."""
        return tuple(dict.fromkeys((*self._device.warm, *self._host.warm)))

    @contextmanager
    def hold(self, *refs: ModelRef) -> Iterator[None]:
        """Work waits for these models while this lasts: they and their files are not let go."""
        with ExitStack() as held:
            for ref in refs:
                held.enter_context(self._pins.hold(ref.digest))
                held.enter_context(self._cache.hold(ref))
            yield

    def fetch(self, ref: ModelRef) -> None:
        """Have the files here; may run while another attempt computes."""
        if ref.digest not in self.at_hand:
            self._cache.folder(ref)

    def plan(
        self,
        ref: ModelRef,
        recipe: Recipe,
        *,
        picture_pixels: int = 0,
        adapters: int = 0,
        beside: Sequence[ModelRef] = (),
        batch: int = 1,
        after: Plan | None = None,
    ) -> Plan:
        """How a picture can be made here, from one of so many pixels, with adapters of so many
        parameters and with these ControlNets; or a batch of them.

        `after` is a plan that ran out of memory.

        Raises:
            AttemptFailedError: by no means, or by no cheaper ones.
        """
        if not recipe.is_drawn:
            plan = self._plan_undrawn(ref, recipe, after=after)
        else:
            work = self._work(recipe, picture_pixels, adapters, beside)
            work = replace(work, batch=batch)
            others = tuple(each.digest for each in beside)
            factors = self.learned.factors(ref.digest, pixels=work.pixels, batch=batch)
            room = self._room(ref, others)
            plan = make_plan(self._parts(ref), work, room, after=after, factors=factors)
            plan = replace(plan, beside=others)
        if plan.verdict is Verdict.HERE:
            return plan
        raise AttemptFailedError(
            FailureCode.DOES_NOT_FIT if after is None else FailureCode.OUT_OF_MEMORY,
            width=recipe.result_size[0],
            height=recipe.result_size[1],
            needed_bytes=plan.needed_bytes,
            available_bytes=plan.available_bytes,
            largest_side=plan.largest_side,
            loras=len(recipe.loras),
            controls=len(recipe.controls),
        )

    def _plan_undrawn(self, ref: ModelRef, recipe: Recipe, *, after: Plan | None) -> Plan:
        """There is but one plan, so none after it."""
        make = {AssetKind.UPSCALER: plan_upscale, AssetKind.MAPPER: plan_map}
        plan = make.get(recipe.model_kind, plan_cutout)(
            recipe,
            weights_bytes=self._parts(ref).total,
            memory_bytes=self._engine.memory_bytes,
            has_own_memory=self._engine.has_own_memory,
        )
        return plan if after is None else replace(plan, verdict=Verdict.NOWHERE)

    def _work(
        self, recipe: Recipe, picture_pixels: int, adapters: int, beside: Sequence[ModelRef]
    ) -> Work:
        """What is to be made. Starting pictures are opened in the host's memory, so they count
        where that is the device's, too.
        """
        is_one = not self._engine.has_own_memory
        width, height = drawn_size(recipe)
        enlarging = TILE_BYTES if recipe.enlargers else 0
        return Work(
            width=width,
            height=height,
            adapters_bytes=adapters * self._engine.bytes_per_parameter + enlarging,
            beside_bytes=sum(self._parts(each).total for each in beside),
            beside_count=len(recipe.controls) + len(recipe.references),
            opened_bytes=self._mapping(beside)
            + (opened_bytes(recipe, picture_pixels) if is_one else 0),
            held_bytes=held_bytes(recipe, picture_pixels) if is_one else 0,
        )

    def _mapping(self, beside: Sequence[ModelRef]) -> int:
        """What a network needs that makes a control's map, one after the other."""
        mappers = (each for each in beside if each.kind is AssetKind.MAPPER)
        return max((mapping_bytes(self._parts(each).total) for each in mappers), default=0)

    def plan_after_last(
        self,
        ref: ModelRef,
        recipe: Recipe,
        failed: Plan,
        *,
        picture_pixels: int = 0,
        adapters: int = 0,
        beside: Sequence[ModelRef] = (),
    ) -> NoReturn:
        """There is to be no further try.

        Raises:
            AttemptFailedError: out of memory, with the sizes and what is expected to fit.
        """
        last = replace(failed, rung=len(LADDER), factor=1.0)
        self.plan(
            ref,
            recipe,
            picture_pixels=picture_pixels,
            adapters=adapters,
            beside=beside,
            after=last,
        )
        raise AssertionError("a plan beyond the last rung")

    def loaded(self, ref: ModelRef, plan: Plan | None = None) -> LoadedModel:
        """The model, on the device as the plan says, with room for the picture beside it.

        Raises:
            AttemptFailedError: its files are not a model of its architecture.
        """
        began = time.monotonic()
        measures = plan.measures if plan is not None else frozenset[Measure]()
        needed = plan.needed_bytes if plan is not None else self._resting_bytes(ref)
        # In one memory what leaves goes where this comes from: taken first, it is not pushed out.
        aside = None if self._engine.has_own_memory else self._host.take(ref.digest)
        self._evict(evictions(self._room(ref, plan.beside if plan is not None else ()), needed))
        is_half = Measure.HALF_PRECISION in measures
        if aside is not None and aside.is_half == is_half:
            model, source = aside, "host"
        else:
            model, source = self._find(ref, is_half=is_half)
        self._compute.run(lambda: model.bring(measures))
        self._device.put(ref.digest, model, model.device_bytes)
        self.ledger.count(source, time.monotonic() - began)
        if source != "gpu":
            log_event(
                "model.loaded",
                digest=ref.digest[:8],
                source=source,
                bytes=model.weights_bytes,
                seconds=time.monotonic() - began,
            )
            self._on_change()
        return model

    def beside(self, ref: ModelRef, plan: Plan) -> LoadedModel:
        """What works with a model that was loaded by this plan, whose bytes it counts.

        Raises:
            AttemptFailedError: its files are not what they should be.
        """
        size = self._parts(ref).total
        if Measure.HALF_PRECISION in plan.measures:
            size //= 2
        return self.loaded(ref, replace(plan, needed_bytes=size + OVERHEAD_BYTES, beside=()))

    def to_host(self, ref: ModelRef) -> bool:
        """Have the model in host memory, if nothing need go for it; False if it would."""
        size = self._parts(ref).total
        if ref.digest in self.at_hand:
            return True
        if self._host.used_bytes + size > self._host.budget_bytes:
            return False
        model = self._cache.read(ref, lambda folder: self._load_from(ref, folder, is_half=False))
        self.ledger.name(ref)
        return self._keep_on_host(ref.digest, model)

    def fits_beside(self, ref: ModelRef, wanted: tuple[str, ...]) -> bool:
        """True if the model can be loaded without pushing out one of `wanted` or a pinned one."""
        stays = [
            kept.size_bytes
            for kept in self._device.others(ref.digest)
            if kept.is_pinned or kept.key in wanted
        ]
        return sum(stays) + self._parts(ref).total <= self._device.budget_bytes

    def release(self) -> None:
        """Free what can be freed, after memory ran out."""
        self.adapters.release()
        self._device.evict(self._device.warm)
        if not self._engine.has_own_memory:
            self._host.evict(self._host.warm)
        gc.collect()
        self._free()
        self._on_change()

    def residents(self) -> tuple[dict[str, object], ...]:
        """What lies where, for the heartbeat."""
        return self.ledger.residents(
            device=self._device.items(), host=self._host.items(), disk=self._cache.views()
        )

    def _find(self, ref: ModelRef, *, is_half: bool) -> tuple[LoadedModel, str]:
        """The model in the precision that is wanted, and where it was."""
        self.ledger.name(ref)
        for place, tier in (("gpu", self._device), ("host", self._host)):
            model = tier.get(ref.digest)
            if model is not None and model.is_half == is_half:
                return model, place
        self._device.take(ref.digest)
        self._host.take(ref.digest)
        model = self._cache.read(ref, lambda folder: self._load_from(ref, folder, is_half=is_half))
        if self._engine.has_own_memory:
            self._keep_on_host(ref.digest, model)
        return model, self._cache.take_source(ref.digest)

    def _keep_on_host(self, digest: str, model: LoadedModel) -> bool:
        """Keep a model's weights in host memory, within the budget, if the host gives the pages."""
        if not self._host.offer(digest, model, model.weights_bytes):
            return False
        if not self._compute.run(model.keep_host_copy):
            self._host.take(digest)
            return False
        return True

    def _parts(self, ref: ModelRef) -> Parts:
        return self._facts_of(ref)[0]

    def _facts_of(self, ref: ModelRef) -> tuple[Parts, int]:
        """Sizes and tiles, read from the files once."""
        facts = self._facts.get(ref.digest)
        if facts is None:
            facts = self._cache.read(
                ref, lambda folder: (measure_parts(folder, self._engine), tile_side(folder))
            )
            footprint = footprint_of(ref.architecture)
            facts = replace(facts[0], footprint=footprint), facts[1]
            self._facts[ref.digest] = facts
        return facts

    def _room(self, ref: ModelRef, beside: Sequence[str] = ()) -> Room:
        """What works beside the model is counted with its work, not among the others."""
        others = self._device.others(ref.digest)
        return Room(
            memory_bytes=self._engine.memory_bytes,
            measures=self._engine.measures,
            denoiser_float_bytes=self._engine.bytes_per_parameter,
            tile_side=self._facts_of(ref)[1],
            others=tuple(kept for kept in others if kept.key not in beside),
        )

    def _resting_bytes(self, ref: ModelRef) -> int:
        return self._parts(ref).total + OVERHEAD_BYTES

    def _load_from(self, ref: ModelRef, folder: Path, *, is_half: bool) -> LoadedModel:
        notes = self._cache.notes(ref.digest)
        try:
            return self._compute.run(
                lambda: load_model(ref, folder, self._engine, notes=notes, is_half=is_half)
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise AttemptFailedError(
                FailureCode.MODEL_UNREADABLE, reason=type(error).__name__
            ) from error

    def _evict(self, digests: tuple[str, ...]) -> None:
        if self._device.evict(digests):
            self._free()
            self._on_change()

    def _left_device(self, digest: str, model: LoadedModel) -> None:
        """A model had to leave the device: on in host memory, if there is room."""
        if self._engine.has_own_memory:
            if self._host.peek(digest) is model:
                self._compute.run(model.put_aside)
        elif self._host.budget_bytes:
            self._host.offer(digest, model, model.weights_bytes)

    def _left_host(self, digest: str, model: LoadedModel) -> None:
        if self._engine.has_own_memory and self._device.peek(digest) is model:
            self._compute.run(model.drop_host_copy)

    def _free(self) -> None:
        give_back_freed(from_gpu=self._engine.has_own_memory)
