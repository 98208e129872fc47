"""From what is asked for to the heartbeat of an idle agent that should load it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.actors import Actor
from gpuagent.protocol.messages import Heartbeat
from jobs.dispatcher import Dispatcher
from jobs.models import Agent, FleetSnapshot, Job, JobAttempt, ModelPin, SchedulerState
from jobs.preloading import FADE_AFTER
from jobs.services.fleet import hear_heartbeat
from jobs.services.fleet_pins import pinned_to
from library.models import ModelVersion
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


@pytest.fixture
def other(tmp_path: Path, model_version: ModelVersion) -> ModelVersion:
    """A second public model."""
    folder = factories.make_tiny_folder(tmp_path / "other", weights=b"other weights")
    return factories.make_model_version(folder=folder, name="Other")


def told(agent: Agent, *warm: str) -> list[str]:
    """What an agent that holds `warm` is told to load."""
    agent.refresh_from_db()
    message = Heartbeat(boot_id=agent.boot_id, ready=True, warm=warm, attempts=())
    reply = hear_heartbeat(agent, message)
    agent.refresh_from_db()
    return [ref.digest for ref in reply.preload]


def asked_for(model: ModelVersion, actor: Actor, workspace: Workspace) -> Dispatcher:
    """Somebody has had a picture of the model made; the one who made it is gone."""
    maker = factories.make_agent("maker")
    job = factories.make_job(actor, workspace, model=model.digest)
    Job.objects.filter(pk=job.pk).update(cost_seconds=30.0)
    dispatcher = Dispatcher()
    assert dispatcher.run_round() == 1
    factories.run_attempt(JobAttempt.objects.get(), maker.row)
    Agent.objects.filter(pk=maker.row.pk).update(removed_at=timezone.now())
    return dispatcher


def think(dispatcher: Dispatcher) -> None:
    dispatcher.preloading._thought_at = -1_000.0
    dispatcher.run_round()


def test_an_idle_agent_loads_what_was_asked_for_lately(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, other: ModelVersion
) -> None:
    dispatcher = asked_for(other, bob_in_a, workspace)
    agent = factories.make_agent("idle").row
    assert told(agent, model_version.digest) == []

    think(dispatcher)

    # What it holds stays, and the other comes beside it; once it has it, nothing is said.
    assert told(agent, model_version.digest) == [model_version.digest, other.digest]
    assert told(agent, model_version.digest, other.digest) == []
    think(dispatcher)
    assert FleetSnapshot.objects.get().data == {"preload": {}}


def test_what_was_asked_for_outlives_the_dispatcher(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, other: ModelVersion
) -> None:
    asked_for(other, bob_in_a, workspace)
    saved = SchedulerState.objects.get()
    assert set(saved.state) == {"version", "root", "popularity"}
    agent = factories.make_agent("idle").row
    told(agent, model_version.digest)

    Dispatcher().run_round()

    assert other.digest in told(agent, model_version.digest)


def test_a_kept_state_that_cannot_be_read_stops_nothing(model_version: ModelVersion) -> None:
    state = {"version": 1, "root": {"virtual": 0, "since": 0, "clock": 0}, "popularity": [1]}
    SchedulerState.objects.create(pk=1, state=state)
    assert Dispatcher().run_round() == 0


def test_an_old_wish_is_not_followed(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, other: ModelVersion
) -> None:
    dispatcher = asked_for(other, bob_in_a, workspace)
    agent = factories.make_agent("idle").row
    told(agent, model_version.digest)
    think(dispatcher)
    FleetSnapshot.objects.update(at=timezone.now() - FADE_AFTER - timedelta(seconds=1))
    assert told(agent, model_version.digest) == []


def test_a_full_agent_gives_up_what_is_asked_for_least(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, other: ModelVersion
) -> None:
    # Given: an agent whose memory holds one model, and it holds one that nobody asks for.
    dispatcher = asked_for(other, bob_in_a, workspace)
    agent = factories.make_agent("idle", memory_bytes=other.weights_bytes).row
    told(agent, model_version.digest)
    held = {"digest": model_version.digest, "component": "unet", "place": "gpu"}
    Agent.objects.filter(pk=agent.pk).update(
        residents=[{**held, "bytes": agent.memory_bytes}], warm=[model_version.digest]
    )
    think(dispatcher)
    assert told(agent, model_version.digest) == [other.digest]


def test_a_pin_is_loaded_by_an_idle_agent_while_the_others_work(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion
) -> None:
    ModelPin.objects.create(model_version=model_version, agents=1)
    agents = [factories.make_agent(f"agent-{n}").row for n in range(3)]
    (first,) = [agent for agent in agents if pinned_to(agent)]
    factories.make_attempt(factories.make_job(bob_in_a, workspace), first)
    assert pinned_to(first) == []
    assert len([agent for agent in agents if pinned_to(agent)]) == 1


def test_a_pin_that_no_agent_can_hold_harms_nobody(
    agent: AgentHandle, model_version: ModelVersion
) -> None:
    ModelPin.objects.create(model_version=model_version, agents=3, label="not-here")
    dispatcher = Dispatcher()
    think(dispatcher)
    think(dispatcher)
    assert told(agent.row, "held") == []
