"""One attempt, from the message to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.adapters import Stack
from gpuagent.pipelines.canvas import Canvas, CanvasColors, make_canvas
from gpuagent.pipelines.encode import Pixels, count_pixels, open_input
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.pipelines.prompts import EmbeddingCache, Embeddings
from gpuagent.pipelines.registry import LoadedModel
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.pipelines.upscale import Upscaler
from gpuagent.planning.plan import Plan
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, AttemptError, AttemptFinish, Claim
from gpuagent.protocol.recipe import parse_recipe
from gpuagent.protocol.wire import MessageInvalidError
from gpuagent.runner import clock
from gpuagent.runner.client import (
    WHILE_LEASED,
    StaleError,
    StudioClient,
    StudioUnreachableError,
    persist,
)
from gpuagent.runner.compute import Compute
from gpuagent.runner.ending import log_end, status_of
from gpuagent.runner.failures import attempt_error, is_device_failure, is_out_of_memory
from gpuagent.runner.finishing import Finisher
from gpuagent.runner.health import Health, SickCode
from gpuagent.runner.held import AttemptStoppedError, Held, HeldAttempts, Stop
from gpuagent.runner.inputs import read_input
from gpuagent.runner.logs import log_event
from gpuagent.runner.models import Models
from gpuagent.runner.patience import patiently
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.refining import HiresMaker
from gpuagent.runner.telemetry import PeakMemory
from gpuagent.runner.upscaling import UpscaleMaker
from gpuagent.runner.work import Timings, Work

_FINISHING_THREADS = 2


class AttemptRunner:
    """Runs attempts; two may be in hand, one computing, one being fetched or finished."""

    def __init__(
        self,
        *,
        boot_id: str,
        client: StudioClient,
        held: HeldAttempts,
        models: Models,
        compute: Compute,
        sources: Sources,
        finisher: Finisher,
        reporter: Callable[[Assignment, Held], ProgressReporter],
        health: Health,
        peak: PeakMemory,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._boot_id = boot_id
        self._client = client
        self._held = held
        self._models = models
        self._compute = compute
        self._sources = sources
        self._finisher = finisher
        self._reporter = reporter
        self._health = health
        self._peak = peak
        self._on_end = on_end
        self._embeddings = EmbeddingCache()
        self._pool = ThreadPoolExecutor(_FINISHING_THREADS, thread_name_prefix="finishing")

    def run(self, attempt_id: str, fence: int) -> None:
        """Do an attempt. Never raises: how it ended is told to the studio."""
        held = self._held.take(attempt_id, fence)
        if held is None:
            if self._held.refuses(attempt_id, fence):
                self.hand_back(Held(attempt_id, fence), "leaving")
            return
        timings = Timings()
        assignment = None
        try:
            assignment = self._claim(held, timings)
            if assignment is not None:
                self._run_claimed(held, assignment, timings)
        finally:
            self._held.drop(held, forget=assignment is None and held.reason() is None)
            self._on_end()

    def hand_back(self, held: Held, reason: str) -> None:
        """Give an attempt to somebody else now, without waiting for its lease to run out."""
        error = AttemptError(code=FailureCode.AGENT_LOST, data={"reason": reason})
        self._tell_finish(held, "failed", error, Timings())
        held.stop(Stop.LOST)

    def close(self) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _claim(self, held: Held, timings: Timings) -> Assignment | None:
        began, sent_at = time.monotonic(), clock.now()
        message = Claim(fence=held.fence, boot_id=self._boot_id)
        try:
            assignment = persist(
                lambda: self._client.claim(held.attempt_id, message), check=held.check
            )
        except (StaleError, StudioUnreachableError, AttemptStoppedError):
            return None  # stale, or it will be sent again
        except MessageInvalidError as error:
            self._tell_finish(held, "failed", attempt_error(error), timings)
            return None
        held.lease(sent_at, assignment.lease_seconds)
        timings.measure("claim", began)
        return assignment

    def _run_claimed(self, held: Held, assignment: Assignment, timings: Timings) -> None:
        status, error = "succeeded", None
        work: Work | None = None
        try:
            recipe = parse_recipe(assignment.recipe)
            work = Work(held=held, assignment=assignment, recipe=recipe, timings=timings)
            adapters = self._models.adapters.hold(assignment.adapters)
            with self._models.hold(assignment.model), adapters:
                self._fetch(work)
                self._make_pictures(work)
            work.wait(raising=True)
        except AttemptStoppedError as stopped:
            status, error = status_of(stopped.reason)
        except Exception as raised:  # every end must reach the studio as a code
            status, error = "failed", self._error_of(raised, work)
        if work is not None:
            began = time.monotonic()
            work.wait(raising=False)
            timings.measure("finishing", began)
        if held.reason() is not Stop.LOST:
            self._tell_finish(held, status, error, timings)
        log_end(assignment, work, "lost" if held.reason() is Stop.LOST else status, error, timings)

    def _error_of(self, raised: Exception, work: Work | None) -> AttemptError:
        error = attempt_error(raised)
        if error.code == FailureCode.OUT_OF_MEMORY:
            self._health.ran_out_of_memory(work.kind if work is not None else None)
        elif error.code == FailureCode.MODEL_CORRUPT:
            self._health.got_corrupt(error.data.get("sha256"))
        elif is_device_failure(raised):
            self._health.be_sick(SickCode.FAILED)
        return error

    def _fetch(self, work: Work) -> None:
        """Everything that can be had before it is this attempt's turn to compute."""
        began = time.monotonic()
        if work.recipe.model != work.assignment.model.digest:
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="another model")
        assignment, recipe, check = work.assignment, work.recipe, work.held.check
        patiently(lambda: self._models.fetch(assignment.model), check=check)
        work.stack = self._models.adapters.stack(
            recipe,
            assignment.adapters,
            patiently=lambda find: patiently(find, check=check),
        )
        for name, sha256 in recipe.inputs.items():
            work.sources[name] = self._fetch_input(work, sha256)
        if "image" in work.sources:
            work.picture_pixels = count_pixels(work.sources["image"])
        work.plan = self._plan(work)
        work.timings.measure("fetch", began)

    def _plan(self, work: Work, *, after: Plan | None = None) -> Plan:
        return self._models.plan(
            work.assignment.model,
            work.recipe,
            picture_pixels=work.picture_pixels,
            adapters=work.stack.parameters,
            after=after,
        )

    def _fetch_input(self, work: Work, sha256: str) -> bytes:
        read = partial(read_input, self._sources, work.assignment, sha256)
        return patiently(read, check=work.held.check)

    def _make_pictures(self, work: Work) -> None:
        """All pictures in one turn; if memory runs out, the rest once more by a cheaper plan."""
        waited = time.monotonic()
        with self._compute.turn(work.held.check_next_picture):
            work.timings.measure("wait", waited)
            self._compute.run(self._peak.reset)
            try:
                if not self._did_make_all(work):
                    self._models.release()
                    work.plan = self._plan(work, after=work.plan)
                    log_event("attempt.cheaper", attempt=work.held.attempt_id, by=work.plan.label)
                    if not self._did_make_all(work):
                        self._models.release()
                        self._models.plan_after_last(
                            work.assignment.model,
                            work.recipe,
                            work.plan,
                            picture_pixels=work.picture_pixels,
                            adapters=work.stack.parameters,
                        )
            finally:
                work.timings.facts["peak_memory_bytes"] = self._peak.read()
        self._health.picture_made()

    def _did_make_all(self, work: Work) -> bool:
        """Make what is not made yet; False if memory ran out on the way.

        The exception and all that it holds in memory are gone when this returns.
        """
        try:
            self._make_all(work)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _make_all(self, work: Work) -> None:
        began = time.monotonic()
        model = self._models.loaded(work.assignment.model, work.plan)
        work.timings.measure("load", began)
        work.timings.facts.setdefault("load_source", self._models.ledger.last_source)
        with self._laid(work, model):
            self._make_with(work, model)

    @contextmanager
    def _laid(self, work: Work, model: LoadedModel) -> Iterator[None]:
        """The recipe's adapters lie over the model, for this attempt alone."""
        began = time.monotonic()
        if work.stack == Stack():
            yield
            return
        with ExitStack() as laid:
            self._compute.run(lambda: laid.enter_context(model.laid(work.stack)))
            work.timings.measure("adapters", began)
            yield

    def _make_with(self, work: Work, model: LoadedModel) -> None:
        reporter = self._reporter(work.assignment, work.held)
        reporter.started()
        make = self._maker(work, model, reporter)
        for index in range(work.recipe.num_images_per_prompt):
            if index not in work.assignment.done and index not in work.made:
                work.held.check_next_picture(has_made_one=bool(work.made))
                work.raise_early()
                pixels = make(index)
                work.made.add(index)
                self._finish_picture(work, index, pixels)
        reporter.ended()

    def _maker(
        self, work: Work, model: LoadedModel, reporter: ProgressReporter
    ) -> Callable[[int], Pixels]:
        if work.recipe.is_upscale and isinstance(model, Upscaler):
            return UpscaleMaker(work, self._compute, model, reporter, self._health)
        if work.recipe.is_upscale or not isinstance(model, Family):
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="another kind of model")
        embeddings = self._embed(work, model)
        start, canvas = self._start(work, model)
        if work.recipe.is_hires:
            upscaler = self._upscaler(work)
            return HiresMaker(
                work, self._compute, model, embeddings, start, upscaler, reporter, self._health
            )
        return _Maker(work, self._compute, model, embeddings, start, canvas, reporter, self._health)

    def _upscaler(self, work: Work) -> Upscaler | None:
        """What enlarges between the two drawings, if the recipe names one."""
        for ref in work.assignment.adapters:
            if ref.digest in work.recipe.refiners:
                upscaler = self._models.beside(ref)
                if isinstance(upscaler, Upscaler):
                    return upscaler
        if work.recipe.refiners:
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="no upscaler")
        return None

    def _embed(self, work: Work, model: Family) -> Embeddings:
        began = time.monotonic()
        digest = work.assignment.model.digest + (" half" if model.is_half else "")
        key = EmbeddingCache.key(work.assignment.organization, digest, work.recipe)
        embeddings = self._embeddings.get(key)
        if embeddings is None:
            embeddings = self._compute.run(lambda: model.encode_prompts(work.recipe))
            self._embeddings.put(key, embeddings)
        work.timings.measure("encode_prompt", began)
        return embeddings

    def _start(self, work: Work, model: Family) -> tuple[StartingPicture | None, Canvas | None]:
        recipe, source = work.recipe, work.sources.get("image")
        if source is None or not recipe.denoising_steps:
            return None, None
        canvas = make_canvas(recipe, source, work.sources.get("mask"))
        if canvas is not None:
            taken = self._compute.run(lambda: model.take_in(canvas.picture, canvas.mask))
            return taken, canvas
        picture = open_input(source, width=recipe.width, height=recipe.height)
        return self._compute.run(lambda: model.take_in(picture)), None

    def _finish_picture(self, work: Work, index: int, pixels: Pixels) -> None:
        """Begin to store a picture; the next one is made meanwhile."""
        memory = work.plan.label if work.plan is not None else ""
        finish = self._finisher.finish
        work.finishing.append(
            self._pool.submit(
                finish, work.held, work.assignment, work.recipe, index, pixels, memory
            )
        )

    def _tell_finish(
        self, held: Held, status: str, error: AttemptError | None, timings: Timings
    ) -> None:
        message = AttemptFinish(
            fence=held.fence, status=status, error=error, timings=timings.to_wire()
        )

        def check() -> None:
            if held.reason() is Stop.LOST:
                held.check()

        try:
            persist(
                lambda: self._client.finish(held.attempt_id, message),
                check=check,
                tries=WHILE_LEASED,
            )
        except (StaleError, StudioUnreachableError, AttemptStoppedError):
            held.stop(Stop.LOST)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the pictures of one attempt, on the compute thread."""

    work: Work
    compute: Compute
    model: Family
    embeddings: Embeddings
    start: StartingPicture | None
    canvas: Canvas | None
    reporter: ProgressReporter
    health: Health

    def __call__(self, index: int) -> Pixels:
        return self.compute.run(lambda: self._make(index))

    def _make(self, index: int) -> Pixels:
        timings, recipe = self.work.timings, self.work.recipe
        began = time.monotonic()
        self.health.begin(self.work.kind, recipe.denoising_steps)
        try:
            latents = self.model.denoise(
                recipe, index, self.embeddings, start=self.start, watch=self._watch(index)
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
