"""Models kept warm, parts of organizations, the policy: what is set, and that it is gone by."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization
from jobs.dispatcher import Dispatcher
from jobs.models import Agent, FleetPolicy, ModelPin, OrganizationShare
from jobs.scheduling import Policy, Tier
from jobs.services.fleet import hear_heartbeat
from jobs.services.fleet_pins import pin_model, pinned_to, unpin_model
from jobs.services.fleet_policy import (
    change_policy,
    load_policy,
    policy_values,
    policy_version,
    touch_policy,
)
from jobs.services.fleet_shares import all_shares, set_share
from library.models import ModelVersion
from studio.core.errors import ForbiddenError, InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]
# What the scheduler may know, now or in a later release.
EVERYTHING = {
    "tier_reserves",
    "organization_weights",
    "organization_caps",
    "member_caps",
    "keep_warm",
    "keep_warm_labels",
    "floor_agents",
    "floor_seconds",
    "window_seconds",
}


def pin(operator: Actor, version: ModelVersion, agents: int = 1, label: str = "") -> ModelPin:
    with organization_scope(operator.organization_id):
        return pin_model(actor=operator, version_id=version.pk, agents=agents, label=label)


def holders(version: ModelVersion) -> list[str]:
    with system_scope():
        return [
            agent.name for agent in Agent.objects.order_by("name") if version in pinned_to(agent)
        ]


def test_a_pin_reaches_as_many_agents_as_it_says(
    operator: Actor, model_version: ModelVersion
) -> None:
    for name in ("a", "b", "c"):
        factories.make_agent(name)
    factories.make_agent("small", memory_bytes=1)
    pin(operator, model_version, agents=2)
    chosen = holders(model_version)
    assert len(chosen) == 2
    assert "small" not in chosen
    # Who holds it keeps it; who takes no work is replaced.
    other = next(name for name in ("a", "b", "c") if name not in chosen)
    Agent.objects.filter(name=other).update(warm=[model_version.digest])
    assert other in holders(model_version)
    Agent.objects.filter(name=other).update(state="maintenance")
    assert holders(model_version) == chosen
    pin(operator, model_version, agents=9, label="large")
    assert holders(model_version) == []
    Agent.objects.filter(name="b").update(labels=["large"], state="serving")
    assert holders(model_version) == ["b"]


@pytest.mark.usefixtures("system")
def test_an_agent_is_told_what_it_lacks_and_then_nothing(
    operator: Actor, model_version: ModelVersion, agent: AgentHandle
) -> None:
    heartbeat = factories.make_heartbeat(agent.row)
    assert hear_heartbeat(agent.row, heartbeat).preload == ()
    pin(operator, model_version)
    told = hear_heartbeat(agent.row, heartbeat).preload
    assert [ref.digest for ref in told] == [model_version.digest]
    warm = type(heartbeat)(
        boot_id=heartbeat.boot_id, ready=True, warm=(model_version.digest,), attempts=()
    )
    assert hear_heartbeat(agent.row, warm).preload == ()
    Agent.objects.filter(pk=agent.row.pk).update(state="draining")
    agent.row.refresh_from_db()
    assert hear_heartbeat(agent.row, heartbeat).preload == ()


def test_only_models_that_are_seen_can_be_pinned(
    operator: Actor, organization_b: Organization, tmp_path: Path
) -> None:
    folder = factories.make_tiny_folder(tmp_path / "b", weights=b"theirs")
    theirs = factories.make_model_version(organization=organization_b, folder=folder)
    with pytest.raises(NotFoundError):
        pin(operator, theirs)
    with organization_scope(operator.organization_id), pytest.raises(NotFoundError):
        unpin_model(actor=operator, version_id=theirs.pk)
    assert not ModelPin.objects.exists()


def test_pins_are_changed_and_taken_back(
    operator: Actor, alice_in_a: Actor, model_version: ModelVersion
) -> None:
    pin(operator, model_version)
    pin(operator, model_version, agents=3)
    assert ModelPin.objects.get().agents == 3
    for agents, label in ((0, ""), (1_001, ""), (1, "not a label")):
        with pytest.raises(InvalidInputError):
            pin(operator, model_version, agents, label)
    with organization_scope(operator.organization_id):
        with pytest.raises(ForbiddenError):
            pin_model(actor=alice_in_a, version_id=model_version.pk, agents=1)
        assert unpin_model(actor=operator, version_id=model_version.pk)
        assert not unpin_model(actor=operator, version_id=model_version.pk)
        actions = AuditEvent.objects.filter(object_id=model_version.pk).order_by("id")
        assert [event.action for event in actions] == [
            "model.pinned",
            "model.pinned",
            "model.unpinned",
        ]


def test_everything_that_is_set_reaches_the_policy(
    operator: Actor, organization_b: Organization, model_version: ModelVersion
) -> None:
    pin(operator, model_version, agents=2, label="large")
    with organization_scope(operator.organization_id):
        change_policy(
            actor=operator,
            given={
                "reserved_shares": {"relax": 0.3, "fast": None},
                "floor_agents": 2,
                "floor_seconds": 12.5,
            },
        )
        set_share(
            actor=operator,
            organization_id=organization_b.pk,
            given={"weight": 2.5, "jobs_at_once": 4, "jobs_at_once_per_member": 1},
        )
    values = policy_values(EVERYTHING)
    fast = Policy().tier_reserves[Tier.FAST]
    assert values["tier_reserves"][Tier.RELAX] == 0.3
    assert values["tier_reserves"][Tier.FAST] == fast
    assert values["organization_weights"] == {organization_b.pk: 2.5}
    assert values["organization_caps"] == {organization_b.pk: 4}
    assert values["member_caps"] == {organization_b.pk: 1}
    assert values["keep_warm"] == {model_version.digest: 2}
    assert values["keep_warm_labels"] == {model_version.digest: "large"}
    assert (values["floor_agents"], values["floor_seconds"]) == (2, 12.5)
    assert "window_seconds" not in values
    assert set(values) <= {each.name for each in fields(Policy)}
    assert load_policy() == Policy(**values)
    assert "floor_agents" not in policy_values({"tier_reserves"})


def test_nothing_set_is_the_schedulers_own(organization_a: Organization) -> None:
    assert load_policy() == Policy()
    assert policy_version() is None


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"tier_weights": {"turbo": 5}}, ["tier_weights"]),
        ({"reserved_shares": {"warp": 0.1}}, ["reserved_shares.warp"]),
        ({"reserved_shares": [1]}, ["reserved_shares"]),
        ({"reserved_shares": {"fast": True}}, ["reserved_shares.fast"]),
        ({"reserved_shares": {"fast": 10**400}}, ["reserved_shares.fast"]),
        ({"reserved_shares": {"fast": 0.5, "relax": 0.45}}, ["reserved_shares"]),
        ({"reserved_shares": {"fast": -0.1}}, ["reserved_shares.fast"]),
        ({"floor_agents": 1.5}, ["floor_agents"]),
        ({"floor_agents": "2"}, ["floor_agents"]),
        ({"floor_seconds": 0, "window_seconds": 9_999}, ["floor_seconds", "window_seconds"]),
        ({"surprise": 1}, ["surprise"]),
    ],
)
def test_what_cannot_be_is_named_and_nothing_is_changed(
    operator: Actor, given: dict[str, Any], fields: list[str]
) -> None:
    scope = organization_scope(operator.organization_id)
    with scope, pytest.raises(InvalidInputError) as caught:
        change_policy(actor=operator, given={"floor_agents": 3, **given})
    assert [problem.field for problem in caught.value.problems] == fields
    assert not FleetPolicy.objects.exists()


def test_a_row_that_cannot_be_does_not_stop_the_queue(
    organization_a: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    FleetPolicy.objects.create(pk=1, floor_agents=5)
    with system_scope():
        share = OrganizationShare.objects.create(organization=organization_a, weight=0)
    with caplog.at_level(logging.ERROR):
        assert load_policy() == Policy()
    assert "the defaults hold" in caplog.text
    with system_scope():
        share.delete()
    FleetPolicy.objects.update(reserved_shares={"fast": "x"})
    assert load_policy() == Policy()


def test_shares_span_organizations_and_are_operators_alone(
    operator: Actor, alice_in_a: Actor, organization_a: Organization, organization_b: Organization
) -> None:
    with organization_scope(operator.organization_id):
        set_share(actor=operator, organization_id=organization_b.pk, given={"jobs_at_once": 5})
        set_share(actor=operator, organization_id=organization_b.pk, given={"weight": 3})
        assert [(o.name, s.weight, s.jobs_at_once) for o, s in all_shares()] == [
            ("Alpha", 1.0, None),
            ("Beta", 3.0, 5),
        ]
        for given in ({"weight": 0}, {"weight": None}, {"jobs_at_once": 0}, {"jobs": 1}):
            with pytest.raises(InvalidInputError):
                set_share(actor=operator, organization_id=organization_b.pk, given=given)
        with pytest.raises(NotFoundError):
            set_share(actor=operator, organization_id="org_x", given={"weight": 1})
        with pytest.raises(ForbiddenError):
            set_share(actor=alice_in_a, organization_id=organization_b.pk, given={"weight": 9})
        events = AuditEvent.objects.filter(action="fleet_share.changed").order_by("id")
        assert [event.details for event in events] == [{"jobs_at_once": 5}, {"weight": 3}]


@pytest.mark.usefixtures("system")
def test_the_dispatcher_follows_and_forgets_nobodys_turn(
    operator: Actor,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> None:
    for _ in range(3):
        factories.make_job(bob_in_a, workspace)
    dispatcher = Dispatcher()
    dispatcher.run_round()
    assert dispatcher.queue is not None
    queue, before = dispatcher.queue, dispatcher.queue.state.to_json()
    with organization_scope(operator.organization_id):
        change_policy(actor=operator, given={"window_seconds": 5})

    dispatcher.run_round(is_tidying=False)
    assert queue.policy == Policy()
    dispatcher.run_round()

    assert dispatcher.queue is queue
    assert queue.policy.window_seconds == 5
    assert queue.state.to_json() == before
    with organization_scope(operator.organization_id):
        set_share(actor=operator, organization_id=workspace.organization_id, given={"weight": 2})
    dispatcher.run_round()
    assert queue.policy.organization_weights == {workspace.organization_id: 2}


@pytest.mark.usefixtures("system")
def test_one_that_was_given_a_policy_keeps_it(operator: Actor) -> None:
    dispatcher = Dispatcher(Policy(window_seconds=7))
    touch_policy()
    dispatcher.run_round()
    assert dispatcher.policy.window_seconds == 7
