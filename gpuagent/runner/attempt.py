"""One attempt, from the message to its end."""

from __future__ import annotations

import hashlib
import time
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.places import PlaceRefusedError
from gpuagent.cache.sources import SourceError, Sources
from gpuagent.pipelines.canvas import Canvas, CanvasColors, make_canvas
from gpuagent.pipelines.encode import Pixels, count_pixels, open_input
from gpuagent.pipelines.prompts import EmbeddingCache, Embeddings
from gpuagent.pipelines.sd15 import StableDiffusion15, StartingPicture, Watch
from gpuagent.planning.memory import Estimate
from gpuagent.protocol import sealing
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, AttemptError, AttemptFinish, Claim
from gpuagent.protocol.recipe import Recipe, parse_recipe
from gpuagent.protocol.wire import MessageInvalidError
from gpuagent.runner.client import StaleError, StudioClient, StudioUnreachableError, persist
from gpuagent.runner.compute import Compute
from gpuagent.runner.failures import attempt_error, is_out_of_memory
from gpuagent.runner.finishing import Finisher
from gpuagent.runner.held import AttemptStoppedError, Held, HeldAttempts, Stop
from gpuagent.runner.logs import log_event
from gpuagent.runner.models import Models
from gpuagent.runner.progress import ProgressReporter

_FINISHING_THREADS = 2


@dataclass(slots=True)
class _Timings:
    """Seconds spent on each part; parts may overlap, so they need not add up."""

    began: float = field(default_factory=time.monotonic)
    parts: dict[str, float] = field(default_factory=dict)

    def measure(self, part: str, since: float) -> float:
        now = time.monotonic()
        self.parts[part] = self.parts.get(part, 0.0) + now - since
        return now

    def to_wire(self) -> dict[str, object]:
        total = time.monotonic() - self.began
        return {name: round(s, 4) for name, s in {**self.parts, "total": total}.items()}


@dataclass(slots=True)
class _Work:
    """What the parts of one attempt share."""

    held: Held
    assignment: Assignment
    recipe: Recipe
    timings: _Timings
    need: Estimate | None = None
    sources: dict[str, bytes] = field(default_factory=dict)
    finishing: list[Future[None]] = field(default_factory=list)


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
        memory_bytes: int,
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
        self._memory_bytes = memory_bytes
        self._on_end = on_end
        self._embeddings = EmbeddingCache()
        self._pool = ThreadPoolExecutor(_FINISHING_THREADS, thread_name_prefix="finishing")

    def run(self, attempt_id: str, fence: int) -> None:
        """Do an attempt. Never raises: how it ended is told to the studio."""
        held = self._held.take(attempt_id, fence)
        if held is None:
            return
        timings = _Timings()
        assignment = None
        try:
            assignment = self._claim(held, timings)
            if assignment is not None:
                self._run_claimed(held, assignment, timings)
        finally:
            self._held.drop(held, forget=assignment is None and held.reason() is None)
            self._on_end()

    def close(self) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _claim(self, held: Held, timings: _Timings) -> Assignment | None:
        sent_at = time.monotonic()
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
        timings.measure("claim", sent_at)
        return assignment

    def _run_claimed(self, held: Held, assignment: Assignment, timings: _Timings) -> None:
        status, error = "succeeded", None
        work: _Work | None = None
        try:
            recipe = parse_recipe(assignment.recipe)
            work = _Work(held=held, assignment=assignment, recipe=recipe, timings=timings)
            self._fetch(work)
            self._make_pictures(work)
            _wait_for(work, raising=True)
        except AttemptStoppedError as stopped:
            status, error = _status_of(stopped.reason)
        except Exception as raised:  # every end must reach the studio as a code
            status, error = "failed", self._error_of(raised, work)
        if work is not None:
            began = time.monotonic()
            _wait_for(work, raising=False)
            timings.measure("finishing", began)
        if held.reason() is not Stop.LOST:
            self._tell_finish(held, status, error, timings)
        _log_end(assignment, work, "lost" if held.reason() is Stop.LOST else status, error, timings)

    def _error_of(self, raised: Exception, work: _Work | None) -> AttemptError:
        need = work.need.total_bytes if work is not None and work.need is not None else 0
        error = attempt_error(raised, needed_bytes=need, available_bytes=self._memory_bytes)
        if is_out_of_memory(raised):
            self._models.release()
        return error

    def _fetch(self, work: _Work) -> None:
        """Everything that can be had before it is this attempt's turn to compute."""
        began = time.monotonic()
        if work.recipe.model != work.assignment.model.digest:
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="another model")
        self._models.fetch(work.assignment.model)
        for name, sha256 in work.recipe.inputs.items():
            work.sources[name] = self._fetch_input(work.assignment, sha256)
        pixels = count_pixels(work.sources["image"]) if "image" in work.sources else 0
        work.need = self._models.plan(work.assignment.model, work.recipe, picture_pixels=pixels)
        work.timings.measure("fetch", began)

    def _fetch_input(self, assignment: Assignment, sha256: str) -> bytes:
        reference = next((i for i in assignment.inputs if i.sha256 == sha256), None)
        if reference is None:
            raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="not in the assignment")
        context = sealing.Context(
            organization=assignment.organization, object_id=reference.artifact_id, kind="input"
        )
        try:
            with self._sources.open(reference.url) as chunks:
                sealed = b"".join(chunks)
            data = sealing.open_sealed(sealed, key=b64decode(reference.data_key), context=context)
        except (SourceError, PlaceRefusedError, sealing.SealBrokenError) as error:
            raise AttemptFailedError(
                FailureCode.INPUT_UNREADABLE, reason=type(error).__name__
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="another picture")
        return data

    def _make_pictures(self, work: _Work) -> None:
        waited = time.monotonic()
        with self._compute.turn(work.held.check_next_picture):
            began = work.timings.measure("wait", waited)
            model = self._models.loaded(work.assignment.model, work.need)
            work.timings.measure("load", began)
            reporter = self._reporter(work.assignment, work.held)
            reporter.started()
            embeddings = self._embed(work, model)
            start, canvas = self._start(work, model)
            make = _Maker(work, self._compute, model, embeddings, start, canvas, reporter)
            for index in range(work.recipe.num_images_per_prompt):
                if index not in work.assignment.done:
                    work.held.check_next_picture()
                    _raise_early(work)
                    self._finish_picture(work, index, make(index))
            reporter.ended()

    def _embed(self, work: _Work, model: StableDiffusion15) -> Embeddings:
        began = time.monotonic()
        digest = work.assignment.model.digest
        key = EmbeddingCache.key(work.assignment.organization, digest, work.recipe)
        embeddings = self._embeddings.get(key)
        if embeddings is None:
            embeddings = self._compute.run(lambda: model.encode_prompts(work.recipe))
            self._embeddings.put(key, embeddings)
        work.timings.measure("encode_prompt", began)
        return embeddings

    def _start(
        self, work: _Work, model: StableDiffusion15
    ) -> tuple[StartingPicture | None, Canvas | None]:
        recipe, source = work.recipe, work.sources.get("image")
        if source is None:
            return None, None
        canvas = make_canvas(recipe, source, work.sources.get("mask"))
        if canvas is not None:
            taken = self._compute.run(lambda: model.take_in(canvas.picture, canvas.mask))
            return taken, canvas
        picture = open_input(source, width=recipe.width, height=recipe.height)
        return self._compute.run(lambda: model.take_in(picture)), None

    def _finish_picture(self, work: _Work, index: int, pixels: Pixels) -> None:
        """Begin to store a picture; the next one is made meanwhile."""
        finish = self._finisher.finish
        work.finishing.append(
            self._pool.submit(finish, work.held, work.assignment, work.recipe, index, pixels)
        )

    def _tell_finish(
        self, held: Held, status: str, error: AttemptError | None, timings: _Timings
    ) -> None:
        message = AttemptFinish(
            fence=held.fence, status=status, error=error, timings=timings.to_wire()
        )

        def check() -> None:
            if held.reason() is Stop.LOST:
                held.check()

        try:
            persist(lambda: self._client.finish(held.attempt_id, message), check=check)
        except (StaleError, StudioUnreachableError, AttemptStoppedError):
            held.stop(Stop.LOST)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the pictures of one attempt, on the compute thread."""

    work: _Work
    compute: Compute
    model: StableDiffusion15
    embeddings: Embeddings
    start: StartingPicture | None
    canvas: Canvas | None
    reporter: ProgressReporter

    def __call__(self, index: int) -> Pixels:
        return self.compute.run(lambda: self._make(index))

    def _make(self, index: int) -> Pixels:
        timings, recipe = self.work.timings, self.work.recipe
        began = time.monotonic()
        latents = self.model.denoise(
            recipe, index, self.embeddings, start=self.start, watch=self._watch(index)
        )
        denoised = timings.measure("denoise", began)
        pixels = self.model.decode(latents)
        if self.canvas is not None:
            pixels = self.canvas.finish(pixels)
        timings.measure("decode", denoised)
        return pixels

    def _watch(self, index: int) -> Watch:
        count, colors = self.work.recipe.num_images_per_prompt, self.model.colors
        if self.canvas is not None:
            colors = CanvasColors.of(colors, self.canvas)
        return Watch(
            check=self.work.held.check,
            step=lambda done, of, peek: self.reporter.step(index, count, done, of, peek, colors),
        )


def _status_of(reason: Stop) -> tuple[str, AttemptError | None]:
    if reason is Stop.CANCELED:
        return "canceled", None
    return "failed", AttemptError(code=FailureCode.AGENT_LOST, data={"reason": reason.name.lower()})


def _raise_early(work: _Work) -> None:
    """Raise what went wrong in finishing an earlier picture: no need to make the next."""
    for future in work.finishing:
        if future.done():
            future.result()


def _wait_for(work: _Work, *, raising: bool) -> None:
    """Wait until all pictures are finished; an attempt ends after its pictures."""
    for future in work.finishing:
        if raising:
            future.result()
        else:
            future.exception()


def _log_end(
    assignment: Assignment,
    work: _Work | None,
    status: str,
    error: AttemptError | None,
    timings: _Timings,
) -> None:
    recipe = work.recipe if work is not None else None
    log_event(
        "attempt.end",
        attempt=assignment.attempt_id,
        status=status,
        code=str(error.code) if error is not None else "-",
        size=f"{recipe.width}x{recipe.height}" if recipe is not None else "-",
        steps=recipe.num_inference_steps if recipe is not None else "-",
        pictures=len(work.finishing) if work is not None else 0,
        model=assignment.model.digest[:8],
        **timings.to_wire(),
    )
