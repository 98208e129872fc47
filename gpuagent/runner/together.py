"""Attempts of different jobs whose pictures are made in one batch.

Who waits for a turn to compute has a seat. The attempt that gets the turn looks whose pictures can
be made with its own, and gives the turn to a thread that makes them all. From then on it waits like
the others: each keeps its own lease, its own progress and its own end, and who is stopped leaves at
the next step. If anything goes wrong, each goes back to make its picture alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.batching import Member
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.registry import LoadedModel
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.planning.plan import Plan
from gpuagent.protocol.batching import batch_key
from gpuagent.protocol.messages import Assignment
from gpuagent.runner.compute import Compute
from gpuagent.runner.failures import is_out_of_memory
from gpuagent.runner.health import Health
from gpuagent.runner.held import AttemptStoppedError, Held
from gpuagent.runner.logs import log_event, log_trouble
from gpuagent.runner.models import Models
from gpuagent.runner.progress import ProgressReporter
from gpuagent.runner.telemetry import PeakMemory
from gpuagent.runner.work import Work, note_memory

_CHECK_SECONDS = 0.05


class _LeftError(Exception):
    """The attempt has ended already."""


class Seat:
    """Where an attempt waits; `key` is empty if its picture is made alone."""

    def __init__(self, work: Work, key: str) -> None:
        self.work = work
        self.key = key
        self.is_taken = False
        self.since = time.monotonic()
        self._has_left = False
        self._is_over = threading.Event()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Another makes this picture, too."""
        self._is_over.clear()
        self.is_taken = True

    def check(self) -> None:
        """Raise if the attempt is to stop, or does not wait any more."""
        self.work.held.check()
        if self._has_left:
            raise _LeftError

    def deliver(self, finish: Callable[[], None]) -> None:
        """The picture is there; `finish` is called unless nobody waits for it any more."""
        with self._lock:
            if not self._has_left:
                finish()
                self.work.made.add(0)

    def end(self, *, was_tried: bool) -> None:
        """The batch is over. Who was tried and has no picture makes it alone now."""
        self.key, self.is_taken = "" if was_tried else self.key, False
        self._is_over.set()

    def leave(self) -> None:
        """Nobody waits for the picture any more."""
        with self._lock:
            self._has_left = True

    def wait(self) -> None:
        """Wait for the batch that took this seat.

        Raises:
            AttemptStoppedError: the attempt is to stop.
        """
        while not self._is_over.wait(_CHECK_SECONDS):
            self.work.held.check()


class Seats:
    """All attempts that wait for a turn; at most `limit` of them go into one batch."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: list[Seat] = []
        self._lock = threading.Lock()

    @contextmanager
    def seat(self, work: Work) -> Iterator[Seat]:
        """A seat while this lasts."""
        may_join = work.assignment.may_batch and not work.assignment.done
        seat = Seat(work, batch_key(work.recipe) if may_join else "")
        with self._lock:
            self._waiting.append(seat)
        try:
            yield seat
        finally:
            seat.leave()
            self._remove(seat)

    def take_with(self, seat: Seat, fits: Callable[[int], bool]) -> list[Seat]:
        """This one, and as many as fit beside it, those first that have waited longest."""
        found = [seat]
        with self._lock:
            for other in self._waiting if seat.key else ():
                if other is seat or other.key != seat.key or not _goes(other):
                    continue
                if len(found) == self._limit or not fits(len(found) + 1):
                    break
                found.append(other)
            for taken in found if len(found) > 1 else ():
                taken.take()
        return found

    def _remove(self, seat: Seat) -> None:
        with self._lock:
            self._waiting.remove(seat)


def _goes(seat: Seat) -> bool:
    try:
        seat.work.held.check_next_picture()
    except AttemptStoppedError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a batch needs of the runner of attempts."""

    laid: Callable[[Work, LoadedModel], AbstractContextManager[None]]
    embed: Callable[[Work, Family], Embeddings]
    reporter: Callable[[Assignment, Held], ProgressReporter]
    finish: Callable[[Work, int, Pixels, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Makes the pictures of several attempts. In the compute turn."""

    hands: Hands
    seats: Seats
    models: Models
    compute: Compute
    health: Health
    peak: PeakMemory

    def begin_with(self, seat: Seat, plan: Callable[..., Plan]) -> Callable[[], None] | None:
        """What makes its picture with those of others and ends the turn; None if there are none.

        `plan(batch=…)` says what so many need.
        """
        plans = dict[int, Plan]()

        def fits(count: int) -> bool:
            """Without any measure that one picture alone would not need."""
            try:
                plans[count] = plan(batch=count)
            except AttemptFailedError:
                return False
            alone = seat.work.plan
            return alone is None or plans[count].measures == alone.measures

        seats = self.seats.take_with(seat, fits)
        if len(seats) < 2:
            return None

        def make() -> None:
            try:
                self.make(seats, plans[len(seats)])
            finally:
                self.compute.end_turn()

        return make

    def make(self, seats: Sequence[Seat], plan: Plan) -> None:
        """Deliver to each seat; whoever gets nothing makes its picture alone. Never raises."""
        is_out, spared = False, list[Seat]()
        try:
            spared = self._make(seats, plan)
        except Exception as error:  # each of them finds out alone whether it is at fault
            log_trouble("batch.failed", error=type(error).__name__, pictures=len(seats))
            is_out = is_out_of_memory(error)
            if is_out:
                digest = seats[0].work.assignment.model.digest
                self.models.learned.ran_out(digest, plan, batch=len(seats))
        try:
            if is_out:  # now that the exception and all that it held are gone
                self.models.release()
        finally:
            for seat in seats:
                seat.end(was_tried=seat not in spared)

    def _make(self, seats: Sequence[Seat], plan: Plan) -> list[Seat]:
        """Those that did not go with the first one: they may go with each other."""
        lead, began = seats[0].work, time.monotonic()
        for seat in seats:
            seat.work.timings.parts["wait"] = began - seat.since
        self.compute.run(self.peak.reset)
        model = self.models.loaded(lead.assignment.model, plan)
        if not isinstance(model, Family) or not model.can_batch:
            return []
        lead.timings.measure("load", began)
        lead.timings.facts.setdefault("load_source", self.models.ledger.last_source)
        self.compute.run(self.peak.mark)
        with self.hands.laid(lead, model):
            joined = self._members(seats, model)
            self._make_with(model, joined, plan)
        self.health.picture_made()
        log_event("batch.made", pictures=len(joined), seconds=time.monotonic() - began)
        return [seat for seat in seats if all(seat is not other for other, *_ in joined)]

    def _members(
        self, seats: Sequence[Seat], model: Family
    ) -> list[tuple[Seat, Member, ProgressReporter]]:
        """Those whose prompts are as long as the first one's."""
        joined: list[tuple[Seat, Member, ProgressReporter]] = []
        for seat in seats:
            reporter = self.hands.reporter(seat.work.assignment, seat.work.held)
            member = Member(
                recipe=seat.work.recipe,
                embeddings=self.hands.embed(seat.work, model),
                watch=_watch(seat, reporter, model),
            )
            if not joined or member.fits_beside(joined[0][1]):
                joined.append((seat, member, reporter))
        return joined

    def _make_with(
        self,
        model: Family,
        joined: Sequence[tuple[Seat, Member, ProgressReporter]],
        plan: Plan,
    ) -> None:
        count, began = len(joined), time.monotonic()
        work = joined[0][0].work
        for _seat, _member, reporter in joined:
            reporter.started()
        self.health.begin((*work.kind, count), work.recipe.denoising_steps)
        try:
            members = [member for _seat, member, _reporter in joined]
            made = self.compute.run(lambda: model.denoise_together(members, self.health.step))
            share = (time.monotonic() - began) / count
            for (seat, _member, reporter), latents in zip(joined, made, strict=True):
                # Of one picture: what the batch took is shared by all of it.
                seat.work.timings.parts["denoise"] = share
                seat.work.timings.facts["batch"] = count
                if latents is not None:
                    self._deliver(seat, model, latents, count)
                note_memory(seat.work, plan, self.peak, self.models.learned, batch=count)
                reporter.ended()
        finally:
            self.health.end()

    def _deliver(self, seat: Seat, model: Family, latents: object, count: int) -> None:
        """Decoded one by one: that is the same for each as alone, and needs no more memory."""
        began, work = time.monotonic(), seat.work
        pixels = self.compute.run(lambda: model.decode(latents))  # type: ignore[arg-type]  # a tensor; torch is imported late
        work.timings.measure("decode", began)
        seat.deliver(lambda: self.hands.finish(work, 0, pixels, count))


def _watch(seat: Seat, reporter: ProgressReporter, model: Family) -> Watch:
    def step(done: int, of: int, peek: Peek) -> None:
        reporter.step(0, 1, done, of, peek, model.colors)

    return Watch(check=seat.check, step=step)
