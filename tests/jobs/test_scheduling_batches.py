"""Jobs that can be made in one batch go to an agent together."""

from __future__ import annotations

from dataclasses import replace

from jobs.scheduling import AgentView, Placement, Policy, Queue, Tier, WaitingJob, plan
from jobs.scheduling.rows import RIDER_PART
from tests.jobs.scheduling_factories import make_agent, make_job, make_queue

ALICE = {"user": "usr_alice"}
WARM = replace(make_agent(resident=["model_a"]), batch_limit=4)


def alike(count: int, key: str = "k", **more: object) -> list[WaitingJob]:
    return [replace(make_job(**more), batch_key=key) for _ in range(count)]  # type: ignore[arg-type]  # each of its field's type


def placed(queue: Queue, agent: AgentView = WARM, now: float = 0.0) -> tuple[Placement, ...]:
    return plan(queue, [agent], now=now).placements


def test_as_many_as_the_agent_makes_at_once_go_together_in_one_slot() -> None:
    jobs = alike(6)
    queue = make_queue(*jobs)
    placements = placed(queue)
    # The first takes the slot, three ride with it, two wait
    assert [placement.job_id for placement in placements] == [job.id for job in jobs[:4]]
    assert [placement.rides_with for placement in placements] == ["", *[jobs[0].id] * 3]
    assert [placement.busy_seconds for placement in placements] == [10, *[10 * RIDER_PART] * 3]
    assert len(queue) == 2


def test_an_agent_that_makes_one_at_a_time_gets_one() -> None:
    assert len(placed(make_queue(*alike(4)), make_agent(resident=["model_a"]))) == 1


def test_only_those_of_one_key_and_one_tier_ride() -> None:
    lead, *others = alike(2)
    queue = make_queue(
        lead,
        *others,
        *alike(1, key="other"),
        *alike(1, key=""),
        *alike(1, tier=Tier.RELAX),
    )
    assert [placement.job_id for placement in placed(queue)] == [lead.id, others[0].id]


def test_riders_are_the_fairest_of_all_that_could() -> None:
    # Given one who flooded the queue first, and two others
    flood = alike(40, user="usr_alice")
    others = [*alike(1, user="usr_bob"), *alike(1, organization="org_beta", user="usr_carol")]
    found = {placement.job_id for placement in placed(make_queue(*flood, *others))}
    assert {job.id for job in others} < found


def test_riders_are_charged_and_limits_hold_for_them() -> None:
    # Given an organization that may have two jobs on agents
    queue = make_queue(
        *alike(4, organization="org_alpha"),
        *alike(1, organization="org_beta"),
        policy=Policy(organization_caps={"org_alpha": 2}),
    )
    placements = placed(queue)
    assert sorted(one.job.organization_id for one in placements) == [
        "org_alpha",
        "org_alpha",
        "org_beta",
    ]
    _root, _tier, alpha = queue.state.flows(("fast", "org_alpha"))
    assert alpha.virtual == 20


def test_what_needs_a_larger_agent_does_not_ride() -> None:
    small, large = alike(1, gib=8) + alike(1, gib=80)
    assert [one.job_id for one in placed(make_queue(small, large))] == [small.id]


def test_a_busy_agent_is_given_the_next_batch_in_time() -> None:
    queue = make_queue(*alike(3))
    busy = replace(WARM, busy_until=10.0)
    assert placed(queue, busy, now=5.0) == ()
    assert len(placed(queue, busy, now=9.5)) == 3
