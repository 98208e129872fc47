"""Agents as the studio knows them: connected, warm, leaving."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_django.fixtures import Settings

from accounts.actors import Actor
from gpuagent.protocol.messages import Register
from jobs.models import JobAttempt
from jobs.selectors import count_agents, warm_digests
from jobs.services.claiming import claim_attempt
from jobs.services.fleet import hear_heartbeat, register_agent
from library.models import ModelVersion
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "redis")]


def test_an_agent_that_leaves_counts_no_more_at_once(agent: AgentHandle) -> None:
    beat = replace(factories.make_heartbeat(agent.row), warm=("digest",))
    hear_heartbeat(agent.row, beat)
    assert count_agents() == (1, 1)
    assert warm_digests() == {"digest"}
    agent.row.refresh_from_db()
    hear_heartbeat(agent.row, replace(beat, leaving=True))
    agent.row.refresh_from_db()
    assert agent.row.is_draining
    assert count_agents() == (0, 0)
    assert warm_digests() == set()


def test_a_heartbeat_does_not_take_back_what_an_admin_has_asked(agent: AgentHandle) -> None:
    agent.row.is_draining = True
    agent.row.save(update_fields=["is_draining"])
    hear_heartbeat(agent.row, factories.make_heartbeat(agent.row))
    agent.row.refresh_from_db()
    assert agent.row.is_draining


def test_who_starts_anew_takes_work_again(agent: AgentHandle) -> None:
    hear_heartbeat(agent.row, replace(factories.make_heartbeat(agent.row), leaving=True))
    message = Register(boot_id="boot-2", fingerprint={}, device="cpu", memory_bytes=1)
    register_agent(agent.row, message)
    hear_heartbeat(agent.row, factories.make_heartbeat(agent.row))
    assert count_agents()[0] == 1


def test_the_lease_of_the_web_side_travels_with_the_work(
    agent: AgentHandle,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    settings: Settings,
) -> None:
    settings.LEASE_SECONDS = 7
    attempt: JobAttempt = factories.make_attempt(factories.make_job(bob_in_a, workspace), agent.row)
    assignment = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
    assert assignment.lease_seconds == 7
