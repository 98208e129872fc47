"""Long jobs that stop between two pictures for urgent ones, and models loaded before they are asked
for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from jobs.scheduling import AgentView, Policy, Popularity, Queue, Tier, plan, preload
from jobs.scheduling.preloading import HOUR
from jobs.scheduling.simulation import SimulatedAgent, Simulation
from tests.jobs.scheduling_factories import GIB, make_agent, make_job, make_queue

MEMORY = {f"model_{name}": 8 * GIB for name in "abcd"}


def batch_on(id: str = "agt_1", *, tier: Tier = Tier.RELAX, picture_done_at: float) -> AgentView:
    """An agent in the middle of a long batch."""
    busy = make_agent(id, slots=0, busy_until=300.0)
    return replace(busy, running=tier, yields_at=picture_done_at)


def yields(job_tier: Tier, *agents: AgentView) -> tuple[str, ...]:
    return plan(make_queue(make_job(tier=job_tier)), agents, now=10.0).yields


def test_a_long_relax_job_yields_to_an_urgent_one() -> None:
    assert yields(Tier.TURBO, batch_on(picture_done_at=12.0)) == ("agt_1",)
    assert yields(Tier.FAST, batch_on(picture_done_at=12.0)) == ("agt_1",)


def test_nothing_yields_to_its_like_or_to_less() -> None:
    assert yields(Tier.RELAX, batch_on(picture_done_at=12.0)) == ()
    assert yields(Tier.BACKGROUND, batch_on(picture_done_at=12.0)) == ()


def test_an_urgent_job_does_not_yield() -> None:
    assert yields(Tier.TURBO, batch_on(tier=Tier.FAST, picture_done_at=12.0)) == ()


def test_nothing_yields_where_that_gains_nothing() -> None:
    nearly_done = replace(batch_on(picture_done_at=12.0), busy_until=12.5)
    assert yields(Tier.TURBO, nearly_done) == ()
    soon_free = make_agent("agt_2", slots=0, busy_until=10.5)
    assert yields(Tier.TURBO, batch_on(picture_done_at=12.0), soon_free) == ()


def test_one_agent_is_asked_for_each_job_and_only_once() -> None:
    first, second = (batch_on(f"agt_{n}", picture_done_at=12.0 + n) for n in (1, 2))
    assert yields(Tier.TURBO, first, second) == ("agt_1",)
    assert yields(Tier.TURBO, replace(first, is_yielding=True), second) == ()


def test_the_agent_that_holds_the_model_is_asked_first() -> None:
    holder = replace(batch_on("agt_2", picture_done_at=15.0), resident=frozenset({"model_a"}))
    assert yields(Tier.TURBO, batch_on(picture_done_at=12.0), holder) == ("agt_2",)


def test_turbo_does_not_wait_behind_a_relax_batch_and_no_picture_is_made_twice() -> None:
    batches = [
        make_job(f"batch_{n}", tier=Tier.RELAX, cost=160.0, pictures=16, organization=f"org_{n}")
        for n in range(6)
    ]
    urgent = [make_job(tier=Tier.TURBO, cost=4.0, at=20.0 + 40.0 * n) for n in range(8)]
    fleet = [SimulatedAgent(id=f"agt_{n}", memory_bytes=24 * GIB) for n in range(2)]
    runs = Simulation([*batches, *urgent], fleet).run()
    waits = [run.waited_seconds for run in runs if run.job.tier is Tier.TURBO]
    assert max(waits) <= 10.0  # one picture
    made = Counter[str]()
    for run in runs:
        made[run.job.id] += run.pictures
    assert made == {job.id: job.pictures for job in [*batches, *urgent]}
    assert Counter(run.job.id for run in runs if run.is_finished) == Counter(made.keys())


def test_spot_machine_hands_back_what_it_cannot_finish() -> None:
    job = make_job("batch", cost=160.0, pictures=16)
    spot = SimulatedAgent(id="agt_0", memory_bytes=24 * GIB, dies_at=95.0, notice_seconds=30.0)
    other = SimulatedAgent(id="agt_1", memory_bytes=24 * GIB)
    first, second = Simulation([job], [spot, other]).run()
    # The notice comes at 65 s, in the sixth picture (6 s to load): six are kept, nothing is lost.
    assert (first.agent_id, first.ended_at, first.pictures) == ("agt_0", 66.0, 6)
    assert (second.agent_id, second.pictures, second.is_finished) == ("agt_1", 10, True)


def idle(id: str, *resident: str, room: int = 0, **options: object) -> AgentView:
    agent = make_agent(id, resident=resident)
    return replace(agent, resident_order=resident, room=room, **options)  # type: ignore[arg-type]  # of AgentView


def preloads(
    queue: Queue, *agents: AgentView, popularity: Popularity | None = None, now: float = 0.0
) -> list[tuple[str, str, str | None]]:
    made = preload(
        queue, agents, popularity=popularity or Popularity(), memory_bytes=MEMORY, now=now
    )
    return [(one.agent_id, one.model_digest, one.evict) for one in made]


def test_a_pin_that_too_few_agents_hold_is_loaded_first() -> None:
    policy = Policy(keep_warm={"model_a": 2})
    agents = [idle("agt_1", "model_a"), idle("agt_2", "model_c"), idle("agt_3", "model_d")]
    assert preloads(make_queue(policy=policy), *agents) == [("agt_2", "model_a", "model_c")]


def test_a_pin_with_a_label_counts_and_uses_only_such_agents() -> None:
    policy = Policy(keep_warm={"model_a": 1}, keep_warm_labels={"model_a": "eu"})
    abroad, home = idle("agt_1", "model_a"), idle("agt_2", labels=frozenset({"eu"}), room=1)
    assert preloads(make_queue(policy=policy), abroad, home) == [("agt_2", "model_a", None)]


def test_the_model_with_most_waiting_work_that_nobody_holds_comes_next() -> None:
    # Held back by a limit, so that the agents idle though jobs wait.
    jobs = [make_job(model="model_a", cost=50.0), make_job(model="model_b", cost=5.0)]
    queue = make_queue(*jobs, policy=Policy(organization_caps={"org_alpha": 0}))
    assert preloads(queue, idle("agt_1", "model_c")) == [("agt_1", "model_a", "model_c")]


def test_what_is_asked_for_at_this_hour_is_guessed() -> None:
    popularity = Popularity()
    for day in range(5):
        popularity.note("model_a", 100.0, at=day * 24 * HOUR + 9 * HOUR)
        popularity.note("model_b", 100.0, at=day * 24 * HOUR + 21 * HOUR)
    empty = make_queue()
    tenth_day = 10 * 24 * HOUR
    morning = preloads(
        empty, idle("agt_1", room=1), popularity=popularity, now=tenth_day + 9.5 * HOUR
    )
    evening = preloads(
        empty, idle("agt_1", room=1), popularity=popularity, now=tenth_day + 21.5 * HOUR
    )
    assert (morning[0][1], evening[0][1]) == ("model_a", "model_b")
    assert Popularity.from_json(popularity.to_json()) == popularity
    popularity.forget_old(at=1000 * 24 * HOUR)
    assert not popularity.hourly


def test_a_guess_evicts_the_longest_unused_but_never_what_jobs_wait_for() -> None:
    popularity = Popularity()
    popularity.note("model_d", 100.0, at=0.0)
    queue = make_queue(make_job(model="model_a"), policy=Policy(organization_caps={"org_alpha": 0}))
    both = idle("agt_1", "model_a", "model_c")
    assert preloads(queue, both, popularity=popularity) == [("agt_1", "model_d", "model_c")]
    assert preloads(queue, idle("agt_1", "model_a"), popularity=popularity) == []


@pytest.mark.parametrize("change", [{"busy_until": 5.0}, {"is_accepting": False}])
def test_only_idle_agents_that_take_work_preload(change: dict[str, object]) -> None:
    policy = Policy(keep_warm={"model_a": 1})
    agent = replace(idle("agt_1", room=1), **change)  # type: ignore[arg-type]  # of AgentView
    assert preloads(make_queue(policy=policy), agent) == []


def test_models_that_are_liked_alike_do_not_push_each_other_out() -> None:
    popularity = Popularity()
    popularity.note("model_a", 100.0, at=0.0)
    popularity.note("model_b", 150.0, at=0.0)
    assert preloads(make_queue(), idle("agt_1", "model_a"), popularity=popularity) == []
    popularity.note("model_b", 100.0, at=0.0)
    swapped = [("agt_1", "model_b", "model_a")]
    assert preloads(make_queue(), idle("agt_1", "model_a"), popularity=popularity) == swapped
