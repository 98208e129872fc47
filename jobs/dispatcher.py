"""The dispatcher: one leader that turns queued jobs into leased attempts.

Postgres is the truth; the `Queue` here is an index over it that can be rebuilt at any time. Each
round reads what changed, takes back what was lost, and asks `jobs.scheduling` for placements.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from gpuagent.protocol.failures import FailureCode
from jobs.costs import LOAD_CACHED, load_seconds
from jobs.explaining import Explainer
from jobs.lifecycle import AttemptStatus
from jobs.models import JobAttempt, SchedulerState
from jobs.preloading import Preloading, read_popularity
from jobs.process_metrics import count_end
from jobs.queue_rows import charge_of, positions, read_in_flight, read_waiting, views
from jobs.scheduling import (
    AgentView,
    Charge,
    FairState,
    Need,
    Placement,
    Policy,
    Queue,
    Unplaceable,
    WaitReason,
    explain,
    plan,
    refund,
    settle,
)
from jobs.selectors import live_agents
from jobs.services.fleet_policy import load_policy, policy_version
from jobs.services.leasing import (
    ask_to_yield,
    expire_overdue,
    lease_attempt,
    lease_attempts,
    resend_unclaimed,
)
from jobs.services.recording import batch_of
from jobs.services.transitions import fail_job
from studio.core.queue import flush_outbox, send_on_commit

SAVE_SECONDS = 5.0
# A note names every job that changes; this often all rows are compared in case one did not.
COMPARE_SECONDS = 30.0
SETTLE_AT_ONCE = 500
SWEEP_EVERY = timedelta(minutes=10)
logger = logging.getLogger(__name__)


class Dispatcher:
    """Holds the queue's index between rounds. Not for threads; one per installation."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.policy_version: datetime | None = None
        self.is_policy_given = policy is not None
        self.queue: Queue | None = None
        self.saved_at = 0.0
        self.compared_at = 0.0
        self.known: set[str] = set()
        self.unfit_since: dict[Need, float] = {}
        self.explainer = Explainer()
        self.preloading = Preloading()
        self.swept_at = timezone.now() - SWEEP_EVERY
        self.next_due_at: float | None = None

    def run_round(self, *, is_tidying: bool = True, changed: Collection[str] | None = None) -> int:
        """Do all that is due now; how many attempts were leased.

        `changed` names the jobs that may have changed since the last round; None: any may have.
        Tidying looks for what was lost, which is a matter of seconds: a round that was only woken
        for a new job can do without.
        """
        if is_tidying:
            expire_overdue()
            resend_unclaimed()
            flush_outbox()
            self._follow_policy()
        queue = self._synchronise(changed)
        self._settle(queue)
        leased = self._place(queue)
        self._save(queue)
        self._sweep()
        return leased

    def _follow_policy(self) -> None:
        """Once operators have set something, it is decided by that from now on."""
        version = policy_version()
        if self.is_policy_given or version == self.policy_version:
            return
        self.policy_version = version
        known = self.policy
        self._use(
            replace(load_policy(), swap_seconds=known.swap_seconds, cached_swaps=known.cached_swaps)
        )

    def _learn_loads(self, queue: Queue) -> None:
        """What loading took lately, of the models that jobs wait for."""
        if not self.is_policy_given:
            digests = {digest for _, digest in queue.everything.demand}
            cached = load_seconds(digests, kind=LOAD_CACHED)
            loads = load_seconds(digests)
            self._use(replace(self.policy, swap_seconds=loads, cached_swaps=cached))

    def _use(self, policy: Policy) -> None:
        self.policy = policy
        if self.queue is not None:
            self.queue.use(policy)

    def seconds_until_due(self, *, at_most: float) -> float:
        """How long nothing needs to be looked at unless somebody says so: until a busy agent
        should be given its next job.
        """
        if self.next_due_at is None:
            return at_most
        return min(at_most, max(0.0, self.next_due_at - time.time()))

    def _synchronise(self, changed: Collection[str] | None) -> Queue:
        """Make the index agree with the rows that wait: with those that changed, or with all."""
        is_time = time.monotonic() - self.compared_at >= COMPARE_SECONDS
        if self.queue is not None and changed is not None and not is_time:
            self._follow(self.queue, changed)
            return self.queue
        self.compared_at = time.monotonic()
        waiting = positions()
        if self.queue is None:
            saved = SchedulerState.objects.filter(pk=1).values_list("state", flat=True).first()
            state = FairState.from_json(saved) if saved else FairState()
            self.preloading = Preloading(read_popularity(saved))
            self.queue = Queue(policy=self.policy, state=state, waiting=read_waiting(waiting))
        else:
            self._follow(self.queue, self.known - waiting.keys())
            self._follow(self.queue, self._differing(self.queue, waiting))
        self.known = set(waiting)
        self._learn_loads(self.queue)
        return self.queue

    def _follow(self, queue: Queue, changed: Collection[str]) -> None:
        """Read these jobs anew; those that do not wait leave the index."""
        if not changed:
            return
        waiting = {job.id: job for job in read_waiting(changed)}
        for job_id in changed:
            if job_id in waiting:
                queue.add(waiting[job_id])
                self.known.add(job_id)
            else:
                queue.remove(job_id)
                self.known.discard(job_id)

    def _differing(self, queue: Queue, waiting: Mapping[str, int]) -> list[str]:
        """Jobs that the index lacks, or has in another place of their owner's line."""
        found = []
        for job_id, position in waiting.items():
            known = queue.get(job_id)
            if known is None or known.position != position:
                found.append(job_id)
        return found

    def _settle(self, queue: Queue) -> None:
        """Replace the estimates of ended attempts by what they took."""
        ended = JobAttempt.objects.filter(settled_at=None, ended_at__isnull=False)
        columns = ("pk", "status", "placement", "timings", "started_at", "claimed_at", "ended_at")
        attempts = list(ended.only(*columns).order_by("ended_at")[:SETTLE_AT_ONCE])
        if not attempts:
            return
        for attempt in attempts:
            charge = charge_of(attempt.placement)
            if charge is not None:
                _settle_one(queue, charge, attempt)
            count_end(attempt)
        done = JobAttempt.objects.filter(pk__in=[attempt.pk for attempt in attempts])
        done.update(settled_at=timezone.now())

    def _place(self, queue: Queue) -> int:
        agents = list(live_agents())
        in_flight = read_in_flight()
        seen, now = views(agents, in_flight), time.time()
        planned = plan(
            queue,
            seen,
            now=now,
            in_flight=in_flight.organizations,
            members_in_flight=in_flight.members,
        )
        boot_ids = {agent.pk: agent.boot_id for agent in agents}
        leased = self._lease_all(queue, planned.placements, boot_ids)
        ask_to_yield(planned.yields)
        self._note_due(seen, planned.placements, now)
        self._give_up(queue, planned.unplaceable)
        known = partial(
            explain,
            queue,
            agents=seen,
            now=now,
            in_flight=in_flight.organizations,
            members_in_flight=in_flight.members,
        )
        self.explainer.publish(queue, seen, known, now=now)
        self.preloading.publish(queue, agents, seen, now=now)
        return leased

    def _note_due(
        self, agents: Sequence[AgentView], placements: Sequence[Placement], now: float
    ) -> None:
        """When the next of the busy agents should be given what it does next."""
        ahead = self.policy.stage_ahead_seconds
        due = [a.busy_until - ahead for a in agents if a.busy_until is not None and a.free_slots]
        due += [now + placement.charged_seconds - ahead for placement in placements]
        self.next_due_at = min((at for at in due if at > now), default=None)

    def _give_up(self, queue: Queue, unplaceable: Sequence[Unplaceable]) -> None:
        """Fail what has been too large for every live agent for a while; a larger one may come."""
        now = time.monotonic()
        too_large = {u.need: u for u in unplaceable if u.reason is WaitReason.DOES_NOT_FIT}
        self.unfit_since = {need: self.unfit_since.get(need, now) for need in too_large}
        for need, since in list(self.unfit_since.items()):
            if now - since < settings.UNPLACEABLE_GRACE_SECONDS:
                continue
            for job_id in queue.jobs_needing(need):
                fail_job(job_id, FailureCode.DOES_NOT_FIT, dict(too_large[need].data))
                queue.remove(job_id)

    def _lease_all(
        self, queue: Queue, placements: Sequence[Placement], boot_ids: Mapping[str, str]
    ) -> int:
        """All of the round's leases in one transaction; one by one if something is wrong there."""
        if not placements:
            return 0
        try:
            attempts = lease_attempts(placements, boot_ids=boot_ids)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # one bad row must not stop everybody's queue
            logger.error("cannot lease together (%s), trying singly", type(error).__name__)
            return sum(
                self._lease(queue, placement, boot_ids[placement.agent_id])
                for placement in placements
            )
        leased = {attempt.job_id: attempt for attempt in attempts}
        for placement in placements:
            self._note_lease(queue, placement, leased.get(placement.job_id))
        return len(attempts)

    def _lease(self, queue: Queue, placement: Placement, boot_id: str) -> bool:
        try:
            attempt = lease_attempt(placement, boot_id=boot_id)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # the same, and now it is known which row it is
            logger.error("cannot lease job=%s (%s)", placement.job_id, type(error).__name__)
            refund(queue, placement.charge)
            fail_job(placement.job_id, FailureCode.INTERNAL)
            return False
        self._note_lease(queue, placement, attempt)
        return attempt is not None

    def _note_lease(self, queue: Queue, placement: Placement, attempt: JobAttempt | None) -> None:
        self.known.discard(placement.job_id)
        if attempt is None:  # canceled or paused since the round began
            refund(queue, placement.charge)
            return
        self.preloading.note(placement, now=time.time())
        logger.info(
            "leased attempt=%s job=%s agent=%s", attempt.pk, attempt.job_id, placement.agent_id
        )

    def _save(self, queue: Queue) -> None:
        if time.monotonic() - self.saved_at < SAVE_SECONDS:
            return
        self.saved_at = time.monotonic()
        state = {
            **queue.state.to_json(),
            "popularity": self.preloading.to_json(now=time.time()),
        }
        SchedulerState.objects.update_or_create(pk=1, defaults={"state": state})

    def _sweep(self) -> None:
        """Now and then ask the worker to clean up."""
        if timezone.now() - self.swept_at < SWEEP_EVERY:
            return
        self.swept_at = timezone.now()
        with transaction.atomic():
            send_on_commit("sweep")


def _settle_one(queue: Queue, charge: Charge, attempt: JobAttempt) -> None:
    began = attempt.started_at or attempt.claimed_at
    if attempt.status == AttemptStatus.EXPIRED.value or began is None or attempt.ended_at is None:
        refund(queue, charge)
    else:
        # Who was made in a batch pays for a share of its time.
        took = (attempt.ended_at - began).total_seconds() / batch_of(attempt.timings)
        settle(queue, charge, took)
