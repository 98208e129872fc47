"""The dispatcher: one leader that turns queued jobs into leased attempts.

Postgres is the truth; the `Queue` here is an index over it that can be rebuilt at any time. Each
round reads what changed, takes back what was lost, and asks `jobs.scheduling` for placements.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from gpuagent.protocol.failures import FailureCode
from jobs.explaining import Explainer
from jobs.lifecycle import AttemptStatus, JobStatus
from jobs.models import Agent, Job, JobAttempt, SchedulerState
from jobs.scheduling import (
    AgentView,
    Charge,
    FairState,
    Need,
    Placement,
    Policy,
    Queue,
    Tier,
    Unplaceable,
    WaitingJob,
    WaitReason,
    explain,
    plan,
    refund,
    settle,
)
from jobs.selectors import live_agents
from jobs.services.leasing import OPEN, expire_overdue, lease_attempt, resend_unclaimed
from jobs.services.transitions import fail_job
from studio.core.queue import flush_outbox, send_on_commit

SAVE_SECONDS = 5.0
READ_AT_ONCE = 2_000
_COLUMNS = (
    "organization_id",
    "created_by_id",
    "tier",
    "model_version__digest",
    "cost_seconds",
    "memory_bytes",
    "submitted_at",
    "position",
)
SWEEP_EVERY = timedelta(minutes=10)
logger = logging.getLogger(__name__)


class Dispatcher:
    """Holds the queue's index between rounds. Not for threads; one per installation."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.queue: Queue | None = None
        self.saved_at = 0.0
        self.known: set[str] = set()
        self.unfit_since: dict[Need, float] = {}
        self.explainer = Explainer()
        self.swept_at = timezone.now() - SWEEP_EVERY

    def run_round(self, *, is_tidying: bool = True) -> int:
        """Do all that is due now; how many attempts were leased.

        Tidying looks for what was lost, which is a matter of seconds: a round that was only woken
        for a new job can do without.
        """
        if is_tidying:
            expire_overdue()
            resend_unclaimed()
            flush_outbox()
        queue = self._synchronise()
        self._settle(queue)
        leased = self._place(queue)
        self._save(queue)
        self._sweep()
        return leased

    def _synchronise(self) -> Queue:
        """Make the index agree with the queued rows: ids of all, columns only of what is new."""
        queued = Job.objects.filter(status=JobStatus.QUEUED.value, paused_at=None)
        positions = dict(queued.order_by().values_list("pk", "position"))
        if self.queue is None:
            saved = SchedulerState.objects.filter(pk=1).values_list("state", flat=True).first()
            state = FairState.from_json(saved) if saved else FairState()
            self.queue = Queue(policy=self.policy, state=state, waiting=_read(list(positions)))
        else:
            queue = self.queue
            for job_id in self.known - positions.keys():
                queue.remove(job_id)
            for job in _read([pk for pk in positions if _differs(queue, pk, positions[pk])]):
                queue.add(job)
        self.known = set(positions)
        return self.queue

    def _settle(self, queue: Queue) -> None:
        """Replace the estimates of ended attempts by what they took."""
        ended = JobAttempt.objects.filter(settled_at=None, ended_at__isnull=False)
        for attempt in ended.order_by("ended_at")[:500]:
            charge = _charge(attempt)
            if charge is not None:
                _settle_one(queue, charge, attempt)
            JobAttempt.objects.filter(pk=attempt.pk).update(settled_at=timezone.now())

    def _place(self, queue: Queue) -> int:
        agents = {agent.pk: agent for agent in live_agents()}
        open_attempts = list(
            JobAttempt.objects.filter(status__in=OPEN).values_list(
                "agent_id", "organization_id", "charged_seconds", "leased_at"
            )
        )
        held = Counter(agent_id for agent_id, *_rest in open_attempts)
        in_flight = Counter(organization_id for _agent, organization_id, *_rest in open_attempts)
        now = time.time()
        busy: dict[str, float] = {}
        for agent_id, _organization, seconds, leased_at in open_attempts:
            busy[agent_id] = max(busy.get(agent_id, 0.0), leased_at.timestamp()) + seconds
        views = [_view(agent, held[agent.pk], busy.get(agent.pk)) for agent in agents.values()]
        planned = plan(queue, views, now=now, in_flight=in_flight)
        leased = sum(self._lease(queue, placement, agents) for placement in planned.placements)
        self._give_up(queue, planned.unplaceable)
        known = partial(explain, queue, agents=views, now=now, in_flight=in_flight)
        self.explainer.publish(queue, views, known, now=now)
        return leased

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

    def _lease(self, queue: Queue, placement: Placement, agents: dict[str, Agent]) -> bool:
        boot_id = agents[placement.agent_id].boot_id
        try:
            attempt = lease_attempt(placement, boot_id=boot_id)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # one bad row must not stop everybody's queue
            logger.error("cannot lease job=%s (%s)", placement.job_id, type(error).__name__)
            refund(queue, placement.charge)
            fail_job(placement.job_id, FailureCode.INTERNAL)
            return False
        if attempt is None:  # canceled since the round began
            refund(queue, placement.charge)
            return False
        logger.info(
            "leased attempt=%s job=%s agent=%s", attempt.pk, attempt.job_id, placement.agent_id
        )
        return True

    def _save(self, queue: Queue) -> None:
        if time.monotonic() - self.saved_at < SAVE_SECONDS:
            return
        self.saved_at = time.monotonic()
        SchedulerState.objects.update_or_create(pk=1, defaults={"state": queue.state.to_json()})

    def _sweep(self) -> None:
        """Now and then ask the worker to clean up."""
        if timezone.now() - self.swept_at < SWEEP_EVERY:
            return
        self.swept_at = timezone.now()
        with transaction.atomic():
            send_on_commit("sweep")


def _differs(queue: Queue, job_id: str, position: int) -> bool:
    """Whether the index lacks the job, or has it in another place of its owner's line."""
    known = queue.get(job_id)
    return known is None or known.position != position


def _read(job_ids: Sequence[str]) -> list[WaitingJob]:
    """The jobs with what the scheduler must know of them, some hundreds at a time."""
    found: list[WaitingJob] = []
    for start in range(0, len(job_ids), READ_AT_ONCE):
        some = Job.objects.filter(pk__in=job_ids[start : start + READ_AT_ONCE])
        rows = some.select_related("model_version").only(*_COLUMNS)
        found.extend(_waiting(row) for row in rows)
    return found


def _waiting(job: Job) -> WaitingJob:
    return WaitingJob(
        id=job.pk,
        organization_id=job.organization_id,
        user_id=job.created_by_id,
        tier=Tier(job.tier),
        model_digest=job.model_version.digest,
        cost_seconds=job.cost_seconds,
        memory_bytes=job.memory_bytes,
        submitted_at=job.submitted_at.timestamp(),
        position=job.position,
    )


def _view(agent: Agent, held: int, busy_until: float | None) -> AgentView:
    return AgentView(
        id=agent.pk,
        free_slots=max(0, settings.AGENT_SLOTS - held),
        memory_bytes=agent.memory_bytes,
        resident=frozenset(agent.warm),
        busy_until=busy_until,
        is_accepting=not agent.is_draining,
    )


def _charge(attempt: JobAttempt) -> Charge | None:
    kept = attempt.placement
    try:
        return Charge(
            tier=Tier(kept["tier"]),
            organization_id=kept["organization_id"],
            user_id=kept["user_id"],
            seconds=float(kept["seconds"]),
        )
    except (KeyError, ValueError):
        return None


def _settle_one(queue: Queue, charge: Charge, attempt: JobAttempt) -> None:
    began = attempt.started_at or attempt.claimed_at
    if attempt.status == AttemptStatus.EXPIRED.value or began is None or attempt.ended_at is None:
        refund(queue, charge)
    else:
        settle(queue, charge, (attempt.ended_at - began).total_seconds())
