"""The part of `scheduler` that goes through the product: the very dispatcher, against real servers.

Import it once Django has its settings.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import timedelta
from random import Random
from statistics import median
from typing import Any

import django
from django.db import connection
from django.utils import timezone

from benchmarks._report import Figure, load, say

django.setup()

from accounts.models import Organization, User  # noqa: E402  # Django first
from gpuagent.protocol.taxonomy import Architecture, AssetKind  # noqa: E402  # the same
from jobs.dispatcher import Dispatcher  # noqa: E402  # the same
from jobs.lifecycle import ATTEMPT_OPEN, AttemptStatus, JobStatus  # noqa: E402  # the same
from jobs.models import Agent, Job, JobAttempt  # noqa: E402  # the same
from library.models import ModelAsset, ModelVersion  # noqa: E402  # the same
from studio.core.models import OutboxMessage  # noqa: E402  # the same
from studio.core.scoping import system_scope  # noqa: E402  # the same
from workspaces.models import Workspace  # noqa: E402  # the same

GIB = 1024**3
ORGANIZATIONS, USERS, MODELS = 20, 3, 24
TIERS = ("turbo", "fast", "relax", "relax", "relax", "relax", "relax", "relax", "relax", "relax")
_INSERT = """
    INSERT INTO jobs_job (
        id, organization_id, workspace_id, created_by_id, status, tier, model_version_id,
        sealed_recipe, search_terms, width, height, count, cost_seconds, memory_bytes, fence,
        attempts_counted, position, paused_seconds, error_code, error_data, submitted_at
    )
    SELECT 'job_' || lpad((%(first)s + n)::text, 26, '0'), o.id, w.id,
           (%(users)s::text[])[1 + (n / 7) %% %(user_count)s], 'queued',
           (%(tiers)s::text[])[1 + n %% %(tier_count)s],
           (%(models)s::text[])[1 + floor(%(model_count)s * power(random(), 2))::int],
           ''::bytea, '{}', 512, 512, 1, 2.3 + 4.7 * random(), 4000000000, 0, 0, 0, 0, '', '{}',
           %(now)s - interval '1 hour' + n * interval '1 millisecond'
    FROM generate_series(0, %(jobs)s - 1) n
    JOIN LATERAL (
        SELECT (%(organizations)s::text[])[1 + n %% %(organization_count)s] AS id
    ) o ON true
    JOIN workspaces_workspace w ON w.organization_id = o.id
    RETURNING id
"""


class Fleet:
    """Agents that are always there, and jobs by the hundred thousand; no agent's process runs."""

    def __init__(self, agents: int) -> None:
        number = Organization.objects.count()
        self.organizations = [
            Organization.objects.create(name=f"Organization {number + n}")
            for n in range(ORGANIZATIONS)
        ]
        for organization in self.organizations:
            Workspace.objects.create(organization=organization, name="Room")
        self.users = [User.objects.create_user(f"user{n}@example.org", None) for n in range(USERS)]
        self.models = [_version(n) for n in range(MODELS)]
        later = timezone.now() + timedelta(days=1)
        self.agents = [
            Agent.objects.create(
                name=f"agent {n}",
                token_hash=f"{n}",
                boot_id="boot",
                memory_bytes=24 * GIB,
                last_seen_at=later,
                is_ready=True,
            )
            for n in range(agents)
        ]
        self.asked = 0

    def ask(self, jobs: int) -> list[str]:
        """So many more jobs wait; their ids."""
        values: dict[str, Any] = {
            "first": self.asked,
            "jobs": jobs,
            "users": [user.pk for user in self.users],
            "user_count": USERS,
            "tiers": list(TIERS),
            "tier_count": len(TIERS),
            "models": self.models,
            "model_count": MODELS,
            "organizations": [organization.pk for organization in self.organizations],
            "organization_count": ORGANIZATIONS,
            "now": timezone.now(),
        }
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, values)
            ids = [row[0] for row in cursor.fetchall()]
        self.asked += jobs
        assert len(ids) == jobs
        return ids

    def end(self) -> list[str]:
        """Whatever agents hold is done, and they hold the models now; the ids of the jobs."""
        now = timezone.now()
        open_statuses = [status.value for status in ATTEMPT_OPEN]
        held = JobAttempt.objects.filter(status__in=open_statuses)
        rows = list(held.values_list("job_id", "agent_id", "job__model_version__digest"))
        for agent_id, digest in {agent: digest for _, agent, digest in rows}.items():
            Agent.objects.filter(pk=agent_id).update(warm=[digest])
        held.update(
            status=AttemptStatus.SUCCEEDED.value,
            claimed_at=now - timedelta(seconds=4),
            started_at=now - timedelta(seconds=4),
            ended_at=now,
        )
        ids = [row[0] for row in rows]
        Job.objects.filter(pk__in=ids).update(status=JobStatus.SUCCEEDED.value, ended_at=now)
        return ids


def _version(number: int) -> str:
    asset = ModelAsset.objects.create(
        organization=None, name=f"Model {number}", kind=AssetKind.CHECKPOINT.value
    )
    version = ModelVersion.objects.create(
        asset=asset,
        number=1,
        digest=f"{number:064x}",
        architecture=next(iter(Architecture)).value,
        default_width=512,
        default_height=512,
        weights_bytes=GIB,
    )
    return version.pk


def dispatches(*, queued: int, leases: int, agents: int = 64) -> dict[str, Figure]:
    """Leases a second: first with few jobs waiting, then with `queued`, in rounds of `agents` and
    singly. Only the dispatcher's rounds are timed: reading what changed, settling, planning,
    leasing, the outbox and the broker.
    """
    _log_to(os.devnull)
    with system_scope():
        assert not Job.objects.exists()
        fleet = Fleet(agents)
        dispatcher = Dispatcher()
        fleet.ask(4 * agents)
        _leases_per_second(dispatcher, fleet, leases=2 * agents)  # warms up
        few, _ = _leases_per_second(dispatcher, fleet, leases=leases)
        fleet.ask(queued)
        began = time.perf_counter()
        dispatcher.run_round()
        compared = time.perf_counter() - began
        fleet.end()
        many, processor = _leases_per_second(dispatcher, fleet, leases=leases)
        began = time.perf_counter()
        dispatcher.run_round()  # compares all rows, as it does every half minute
        comparing = time.perf_counter() - began
        singly = _singly(dispatcher, fleet, leases=min(leases, 60))
        assert dispatcher.queue is not None
        assert len(dispatcher.queue) > queued * 0.9
        assert not OutboxMessage.objects.exists()
    figures: dict[str, Figure] = {
        "dispatch_per_s": many,
        "dispatch_per_s_few": few,
        "dispatch_cpu_ms": processor * 1000,
        "dispatch_single_ms_p50": median(singly) * 1000,
        "dispatch_first_read_s": compared,
        "dispatch_compare_ms": comparing * 1000,
        "dispatch_queued": queued,
        "dispatch_agents": agents,
    }
    say(f"dispatcher: {figures}, load {load()}")
    return figures


def _log_to(path: str) -> None:
    """The line for each lease is part of the work, but nobody wants to read it here."""
    logger = logging.getLogger("jobs.dispatcher")
    logger.addHandler(logging.FileHandler(path))
    logger.propagate = False


def _leases_per_second(dispatcher: Dispatcher, fleet: Fleet, *, leases: int) -> tuple[float, float]:
    """A second, and seconds of our processor time each, in rounds that fill all agents;
    between two of them all is done and as much asked anew.
    """
    leased, seconds, processor = 0, 0.0, 0.0
    changed = fleet.end()
    while leased < leases:
        began, used = time.perf_counter(), time.process_time()
        now = dispatcher.run_round(is_tidying=False, changed=changed)
        seconds += time.perf_counter() - began
        processor += time.process_time() - used
        assert now >= len(fleet.agents)
        leased += now
        changed = [*fleet.end(), *fleet.ask(now)]
    return leased / seconds, processor / leased


def _singly(dispatcher: Dispatcher, fleet: Fleet, *, leases: int) -> list[float]:
    """Seconds a lease in rounds in which one agent is free (now and then another is about to be),
    as on a fleet whose jobs end one by one.
    """
    dispatcher.run_round(changed=fleet.end())
    chance, taken = Random(1), list[float]()  # noqa: S311  # which agent is done next
    for _ in range(leases):
        agent = chance.choice(fleet.agents)
        now = timezone.now()
        mine = JobAttempt.objects.filter(agent=agent, ended_at=None)
        ids = list(mine.values_list("job_id", flat=True))
        mine.update(status=AttemptStatus.SUCCEEDED.value, started_at=now, ended_at=now)
        Job.objects.filter(pk__in=ids).update(status=JobStatus.SUCCEEDED.value)
        changed = [*ids, *fleet.ask(1)]
        began = time.perf_counter()
        leased = dispatcher.run_round(is_tidying=False, changed=changed)
        taken.append((time.perf_counter() - began) / leased)
    return taken
