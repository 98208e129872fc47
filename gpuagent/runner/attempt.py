"""One attempt, from the message to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.adapters import Stack
from gpuagent.pipelines.canvas import Canvas, make_canvas
from gpuagent.pipelines.encode import Pixels, count_pixels, open_input
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.pipelines.prompts import EmbeddingCache, Embeddings
from gpuagent.pipelines.registry import LoadedModel
from gpuagent.planning.plan import Plan
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, AttemptError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.runner.client import StudioClient
from gpuagent.runner.compute import Compute
from gpuagent.runner.controls import find_beside, make_guides
from gpuagent.runner.drawn import DrawnMaker
from gpuagent.runner.ending import log_end, status_of
from gpuagent.runner.failures import attempt_error, is_device_failure, is_out_of_memory
from gpuagent.runner.finishers import find_refiner, using_vae
from gpuagent.runner.finishing import Finisher, MadeBy
from gpuagent.runner.health import Health, SickCode
from gpuagent.runner.held import AttemptStoppedError, Held, HeldAttempts, Stop
from gpuagent.runner.inputs import read_input
from gpuagent.runner.logs import log_event
from gpuagent.runner.models import Models
from gpuagent.runner.patience import patiently
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.refining import HiresMaker, find_again
from gpuagent.runner.telemetry import PeakMemory
from gpuagent.runner.telling import Teller
from gpuagent.runner.together import Hands, Seat, Seats, Together
from gpuagent.runner.undrawn import UndrawnMaker, can_make
from gpuagent.runner.work import Timings, Work, note_memory

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
        batch_limit: int = 1,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._teller = Teller(client, boot_id)
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
        self._seats = Seats(batch_limit)
        self._batches = Together(
            hands=Hands(
                laid=self._laid,
                embed=lambda work, model: self._embed(work, model, work.assignment.model.digest),
                reporter=reporter,
                finish=self._finish_picture,
            ),
            seats=self._seats,
            models=models,
            compute=compute,
            health=health,
            peak=peak,
        )

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
            assignment = self._teller.claim(held, timings)
            if assignment is not None:
                self._run_claimed(held, assignment, timings)
        finally:
            self._held.drop(held, forget=assignment is None and held.reason() is None)
            self._on_end()

    def hand_back(self, held: Held, reason: str) -> None:
        """Give an attempt to somebody else now, without waiting for its lease to run out."""
        error = AttemptError(code=FailureCode.AGENT_LOST, data={"reason": reason})
        self._teller.finish(held, "failed", error, Timings())
        held.stop(Stop.LOST)

    def close(self) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run_claimed(self, held: Held, assignment: Assignment, timings: Timings) -> None:
        status, error = "succeeded", None
        work: Work | None = None
        try:
            recipe = parse_recipe(assignment.recipe)
            work = Work(held=held, assignment=assignment, recipe=recipe, timings=timings)
            work.beside = find_beside(recipe, assignment)
            adapters = self._models.adapters.hold(assignment.adapters)
            with self._models.hold(assignment.model, *work.beside), adapters:
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
            self._teller.finish(held, status, error, timings)
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
        for ref in (assignment.model, *work.beside):
            patiently(partial(self._models.fetch, ref), check=check)
        work.stack = self._models.adapters.stack(
            recipe,
            assignment.adapters,
            patiently=lambda find: patiently(find, check=check),
        )
        for name, sha256 in recipe.inputs.items():
            work.sources[name] = self._fetch_input(work, sha256)
        # A mask is as large as its picture at most, or made so.
        opened = [data for name, data in work.sources.items() if name != "mask"]
        work.picture_pixels = max(map(count_pixels, opened), default=0)
        work.plan = self._plan(work)
        work.timings.measure("fetch", began)

    def _plan(self, work: Work, *, after: Plan | None = None, batch: int = 1) -> Plan:
        return self._models.plan(
            work.assignment.model,
            work.recipe,
            picture_pixels=work.picture_pixels,
            adapters=work.stack.parameters,
            batch=batch,
            beside=work.beside,
            after=after,
        )

    def _fetch_input(self, work: Work, sha256: str) -> bytes:
        read = partial(read_input, self._sources, work.assignment, sha256)
        return patiently(read, check=work.held.check)

    def _make_pictures(self, work: Work) -> None:
        """All pictures in one turn; or the one in a batch with others that wait for a turn."""
        with self._seats.seat(work) as seat:
            while not work.made:
                if not self._compute.take_turn(work.held.check_next_picture, lambda: seat.is_taken):
                    seat.wait()
                    continue
                plan = partial(self._plan, work)
                batch = None if work.made else self._batches.begin_with(seat, plan)
                if batch is not None:  # it has the turn now
                    threading.Thread(target=batch, name="batch", daemon=True).start()
                    seat.wait()
                    continue
                try:
                    if not work.made:
                        self._make_alone(work, seat)
                    return
                finally:
                    self._compute.end_turn()

    def _make_alone(self, work: Work, seat: Seat) -> None:
        """If memory runs out, what is not made yet once more by a cheaper plan."""
        work.timings.measure("wait", seat.since)
        self._compute.run(self._peak.reset)
        try:
            # One made by less than the ladder's own figures is no try of the ladder.
            tries = 3 if work.plan is not None and work.plan.factor < 1 else 2
            while not self._did_make_all(work):
                tries -= 1
                self._think_again(work, is_last=not tries)
        finally:
            note_memory(work, work.plan, self._peak, self._models.learned)
        self._health.picture_made()

    def _think_again(self, work: Work, *, is_last: bool) -> None:
        """Memory ran out: another plan, or the end."""
        self._models.release()
        model, failed = work.assignment.model, work.plan
        if failed is not None:
            self._models.learned.ran_out(model.digest, failed)
        if is_last and failed is not None:
            self._models.plan_after_last(
                *(model, work.recipe, failed),
                picture_pixels=work.picture_pixels,
                adapters=work.stack.parameters,
                beside=work.beside,
            )
        work.plan = self._plan(work, after=failed)
        log_event("attempt.cheaper", attempt=work.held.attempt_id, by=work.plan.label)

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
        work.timings.facts["model_bytes"] = model.weights_bytes
        self._compute.run(self._peak.mark)
        with self._laid(work, model), using_vae(work, self._models, model):
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
        if can_make(model, work.recipe):
            return UndrawnMaker(work, self._compute, model, reporter, self._health)
        if not work.recipe.is_drawn or not isinstance(model, Family):
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, reason="another kind of model")
        embeddings = self._embed(work, model, work.assignment.model.digest)
        refiner = find_refiner(work, self._models, partial(self._embed, work))
        start, canvas = self._start(work, model)
        guides = make_guides(work, model, self._models, self._compute, canvas)
        if work.recipe.is_hires:
            return HiresMaker(
                *(work, self._compute, model, embeddings, start, guides),
                *(find_again(work, self._models, self._compute, refiner), reporter, self._health),
            )
        return DrawnMaker(
            *(work, self._compute, model, embeddings, start, canvas, guides, refiner),
            *(reporter, self._health),
        )

    def _embed(self, work: Work, model: Family, digest: str) -> Embeddings:
        began = time.monotonic()
        read_by = digest + (" half" if model.is_half else "")
        key = EmbeddingCache.key(work.assignment.organization, read_by, work.recipe)
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

    def _finish_picture(self, work: Work, index: int, pixels: Pixels, batch: int = 1) -> None:
        """Begin to store a picture; the next one is made meanwhile."""
        made_by = MadeBy(memory=work.plan.label if work.plan is not None else "", batch=batch)
        finish = self._finisher.finish
        work.finishing.append(
            self._pool.submit(
                finish, work.held, work.assignment, work.recipe, index, pixels, made_by
            )
        )
