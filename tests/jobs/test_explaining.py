"""Why a job waits and what would be ahead of the next: from dispatcher to people, by Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.test import Client, override_settings
from django.utils import timezone
from redis import Redis

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs import explaining
from jobs.dispatcher import Dispatcher
from jobs.drawer import why_sentence
from jobs.explaining import newcomer
from jobs.explanations import Why, ahead_of, member_name, watch, watched, why_of
from jobs.forecast import Ground, TierForecast, Waits, tier_forecast, waits_of
from jobs.models import Agent, CostEstimate, Job, RunRecord
from jobs.scheduling import Tier, WaitReason
from jobs.selectors import waiting_jobs
from library.models import ModelVersion
from tests import factories
from tests.answers import text_of
from tests.factories import PROMPT, AgentHandle
from tests.jobs import scheduling_factories as lines
from tests.jobs.calls import post, problem
from tests.looking import all_of_redis
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]


@pytest.fixture(autouse=True)
def _speaks_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "EVERY_SECONDS", 0.0)


@pytest.fixture
def busy(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, settings: LazySettings
) -> Dispatcher:
    """A dispatcher whose one agent has a job, with room for no other."""
    settings.AGENT_SLOTS = 1
    Agent.objects.filter(pk=agent.row.pk).update(name="gpu-2")
    factories.make_job(bob_in_a, workspace)
    dispatcher = Dispatcher()
    assert dispatcher.run_round() == 1
    return dispatcher


def test_who_comes_after_many_of_others_is_told_too(
    busy: Dispatcher,
    bob_in_a: Actor,
    alice_in_a: Actor,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given: more jobs of Alice than are ever explained, and one of Bob's behind them.
    monkeypatch.setattr(explaining, "JOBS_OF_A_WORKSPACE", 4)
    for tier in ("turbo", "fast", "relax"):
        for _ in range(2):
            factories.make_job(alice_in_a, workspace, tier=tier)
    late = factories.make_job(bob_in_a, workspace)
    watch(workspace.pk)
    busy.run_round()
    assert late.pk in why_of(workspace.pk, [late.pk])
    # And: of Alice's it is those that her drawer shows first.
    shown = [job.pk for job in waiting_jobs(workspace, alice_in_a.user_id)[0]]
    assert [pk in why_of(workspace.pk, [pk]) for pk in shown] == [True] * 3 + [False] * 3


def test_nothing_is_written_while_nobody_looks(
    busy: Dispatcher, bob_in_a: Actor, workspace: Workspace, redis: Redis
) -> None:
    factories.make_job(bob_in_a, workspace)
    busy.run_round()
    assert not list(redis.scan_iter("studio:waiting:*"))


def test_what_is_watched_is_explained_and_fades(
    busy: Dispatcher, bob_in_a: Actor, alice_in_a: Actor, workspace: Workspace, redis: Redis
) -> None:
    theirs = factories.make_job(alice_in_a, workspace, tier="turbo")
    mine = factories.make_job(bob_in_a, workspace)
    watch(workspace.pk)
    busy.run_round()

    why = why_of(workspace.pk, [mine.pk])[mine.pk]
    assert (why.code, why.jobs_ahead, why.own_jobs_ahead) == (WaitReason.OTHERS_FIRST, 1, 0)
    assert why.by_tier == {"turbo": 1}
    assert why.agent is not None
    assert why.starts_in is not None
    assert why.starts_in > 0
    assert why_of(workspace.pk, [theirs.pk])[theirs.pk].jobs_ahead == 0
    [key] = redis.scan_iter("studio:waiting:*")
    assert 0 < redis.ttl(key) <= 10
    assert PROMPT not in all_of_redis(redis)


def test_a_mark_fades(redis: Redis) -> None:
    watch("wsp_1")
    redis.zadd("studio:watched", {"wsp_2": time.time() - 60})
    assert watched() == ["wsp_1"]


def test_who_is_not_reached_in_time_comes_first_the_next_time(
    busy: Dispatcher, organization_a: Organization, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    names = [factories.make_workspace(organization_a).pk for _ in range(3)]
    for name in names:
        watch(name)
    told: list[str] = []

    def tell_slowly(name: str, *_rest: object) -> None:
        told.append(name)
        time.sleep(0.15)

    monkeypatch.setattr(explaining, "BUDGET_SECONDS", 0.1)
    monkeypatch.setattr(explaining, "_tell", tell_slowly)
    for rounds in range(1, 4):
        busy.run_round()
        assert len(told) == rounds
    assert sorted(told) == sorted(names)


@override_settings(REDIS_URL="redis://127.0.0.1:1/0")
def test_without_redis_the_queue_goes_on_unexplained(
    busy: Dispatcher, bob_in_a: Actor, workspace: Workspace, bobs: Client, room: str
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    factories.make_agent("late")
    assert busy.run_round() == 1
    assert job.pk in text_of(bobs.get(f"{room}/queue"))
    assert ahead_of(bob_in_a.organization_id, bob_in_a.user_id) == {}


def test_a_foreign_job_is_not_explained_in_our_room(
    busy: Dispatcher, charlie_in_b: Actor, workspace_b: Workspace, workspace: Workspace
) -> None:
    foreign = factories.make_job(charlie_in_b, workspace_b)
    watch(workspace.pk)
    watch(workspace_b.pk)
    busy.run_round()
    assert why_of(workspace.pk, [foreign.pk]) == {}
    assert foreign.pk in why_of(workspace_b.pk, [foreign.pk])


# ------------------------------------------------------------------ the newcomer


def ahead(tier: Tier = Tier.FAST, user: str = "usr_new", *jobs: object, busy: bool = True) -> int:
    queue = lines.make_queue(*jobs)  # type: ignore[arg-type]  # WaitingJobs
    before = queue.state.to_json()
    agents = [lines.make_agent(busy_until=5.0 if busy else None)]
    found = newcomer(queue, agents, (tier, "org_alpha", user), now=0.0)
    assert queue.state.to_json() == before, "asking must change nothing"
    return found.jobs_ahead


def test_a_newcomer_alone_has_nothing_ahead() -> None:
    assert ahead() == 0


def test_a_newcomer_comes_behind_their_own_jobs_and_all_that_is_more_urgent() -> None:
    """And behind what relax is sure of: a fifth of the 50 seconds, which is one of its jobs."""
    own = [lines.make_job(user="usr_new") for _ in range(3)]
    urgent = [lines.make_job(tier=Tier.TURBO, organization="org_beta") for _ in range(2)]
    relaxed = [lines.make_job(tier=Tier.RELAX) for _ in range(9)]
    assert ahead(Tier.FAST, "usr_new", *own, *urgent, *relaxed) == 5 + 1
    assert ahead(Tier.TURBO, "usr_new", *own, *relaxed) == 0


def test_a_newcomer_shares_with_who_has_much() -> None:
    """600 jobs of somebody else are not all ahead: turns are taken by person and organization."""
    many = [lines.make_job(user="usr_much") for _ in range(300)]
    others = [lines.make_job(user="usr_other", organization="org_beta") for _ in range(300)]
    assert 1 <= ahead(Tier.FAST, "usr_new", *many, *others) <= 4


def test_it_agrees_with_the_schedulers_own_explanation() -> None:
    """A newcomer is told nearly what the same job is told once it waits."""
    jobs = [
        lines.make_job(user=f"usr_{n % 3}", organization=f"org_{n % 2}", at=float(n))
        for n in range(24)
    ]
    told = ahead(Tier.FAST, "usr_1", *jobs)
    own = lines.make_job(user="usr_1", at=99.0)
    queue = lines.make_queue(*jobs, own)
    explained = explaining_of(queue, own.id)
    assert abs(told - explained) <= 6


def explaining_of(queue: object, job_id: str) -> int:
    from jobs.scheduling import explain

    explanation = explain(queue, job_id, [lines.make_agent(busy_until=5.0)], now=0.0)  # type: ignore[arg-type]  # a Queue
    assert explanation is not None
    return explanation.jobs_ahead


def test_it_says_when_an_idle_agent_would_take_it_at_once() -> None:
    agents = [lines.make_agent("a"), lines.make_agent("b", busy_until=9.0)]
    path = (Tier.FAST, "org_alpha", "usr_new")
    found = newcomer(lines.make_queue(), agents, path, now=0.0)
    assert (found.is_free, found.wait_seconds) == (True, 0.0)
    found = newcomer(lines.make_queue(), agents[1:], path, now=0.0)
    assert (found.is_free, found.wait_seconds) == (False, 9.0)
    assert newcomer(lines.make_queue(), [], path, now=0.0).wait_seconds is None


# ------------------------------------------------------------------ in words


def sentence(code: str = "queue.others_first", name: str = "gpu-2", **values: object) -> str:
    facts: dict[str, object] = {"jobs_ahead": 0, "own_jobs_ahead": 0, "at": 0.0, "starts_in": 9.0}
    return why_sentence(Why(code=code, **{**facts, **values}), agent_name=name)  # type: ignore[arg-type]  # the fields of Why


@pytest.mark.parametrize(
    ("said", "values"),
    [
        (
            "Behind 3 Turbo jobs; then the model loads on gpu-2 in 4 s",
            {"jobs_ahead": 3, "by_tier": {"turbo": 3}, "load_seconds": 4.0},
        ),
        (
            "Behind 1 Turbo job, 2 other jobs and 4 of yours",
            {"jobs_ahead": 7, "own_jobs_ahead": 4, "by_tier": {"turbo": 1}},
        ),
        ("Behind 2 of yours", {"jobs_ahead": 2, "own_jobs_ahead": 2}),
        ("Next in line; the model loads on gpu-2 in 4 s", {"load_seconds": 4.0}),
        ("Next, when an agent is free", {"code": "queue.agents_busy"}),
        ("No agent is connected; it starts when one is", {"code": "queue.no_agent"}),
        (
            "Needs 9.5 GiB; the largest agent has 8.0 GiB",
            {
                "code": "queue.does_not_fit",
                "data": {"needed_bytes": 9.5 * 1024**3, "largest_bytes": 8 * 1024**3},
            },
        ),
        ("Next in line", {"code": "queue.something_new"}),
    ],
)
def test_every_reason_is_a_sentence(said: str, values: dict[str, object]) -> None:
    assert sentence(**values) == said  # type: ignore[arg-type]  # `code` may be among them


@pytest.mark.parametrize("code", list(WaitReason))
def test_no_reason_is_left_without_words(code: str) -> None:
    assert len(sentence(code, jobs_ahead=1)) > 5


def test_the_page_and_the_api_say_why(
    busy: Dispatcher,
    bobs: Client,
    bob_api: Client,
    room: str,
    bob_in_a: Actor,
    alice_in_a: Actor,
    workspace: Workspace,
) -> None:
    factories.make_job(alice_in_a, workspace, tier="turbo")
    mine = factories.make_job(bob_in_a, workspace)
    assert "data-unsaid" in text_of(bobs.get(f"{room}/queue"))
    assert bob_api.get(f"/api/v1/jobs/{mine.pk}").json()["waiting"] is None

    busy.run_round()

    text = text_of(bobs.get(f"{room}/queue"))
    assert "Behind 1 Turbo job; then the model loads on gpu-2 in 6 s" in text
    assert "starts in about" in text
    assert "data-unsaid" not in text
    waiting = bob_api.get(f"/api/v1/jobs/{mine.pk}").json()["waiting"]
    assert (waiting["code"], waiting["more_urgent"]) == ("queue.others_first", {"turbo": 1})
    assert (waiting["agent"], waiting["load_seconds"]) == ("gpu-2", 6.0)
    [listed] = [j for j in bob_api.get("/api/v1/jobs").json()["results"] if j["id"] == mine.pk]
    assert listed["waiting"] == waiting


# ------------------------------------------------------------------ the forecast


def make_runs(organization: Organization, waits: list[float], tier: str = "fast") -> None:
    now = timezone.now()
    RunRecord.objects.bulk_create(
        RunRecord(
            organization=organization,
            attempt_id=f"att_{organization.pk[-8:]}{tier}{n}",
            gpu_class="cpu",
            job_type="picture",
            tier=tier,
            model_digest="d",
            width=64,
            height=64,
            steps=1,
            pictures=1,
            status="succeeded",
            wait_seconds=wait,
            ended_at=now - timedelta(minutes=n),
        )
        for n, wait in enumerate(waits)
    )


def test_without_history_no_time_is_invented(
    bob_api: Client, agent: AgentHandle, workspace: Workspace
) -> None:
    body = post(bob_api, "/api/v1/forecast", {"prompt": PROMPT}).json()
    assert body["gpu_seconds"] > 0
    assert body["agents"] == 1
    assert [one["tier"] for one in body["tiers"]] == ["turbo", "fast", "relax"]
    for one in body["tiers"]:
        assert (one["wait_p50_seconds"], one["wait_p90_seconds"]) == (None, None)
        assert (one["history"], one["runs"]) == ("none", 0)


def test_the_dispatcher_tells_what_is_ahead_after_the_first_question(
    busy: Dispatcher, bob_api: Client, bob_in_a: Actor, workspace: Workspace
) -> None:
    for _ in range(2):
        factories.make_job(bob_in_a, workspace)
    first = post(bob_api, "/api/v1/forecast", {}).json()
    assert [one["jobs_ahead"] for one in first["tiers"]] == [None, None, None]

    busy.run_round()

    body = post(bob_api, "/api/v1/forecast", {}).json()
    by_tier = {one["tier"]: (one["jobs_ahead"], one["own_jobs_ahead"]) for one in body["tiers"]}
    assert by_tier == {"turbo": (0, 0), "fast": (2, 2), "relax": (2, 0)}


def test_a_forecast_makes_no_job_and_needs_no_prompt(
    bob_api: Client, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> None:
    CostEstimate.objects.create(
        gpu_class="cpu", kind="step", key=model_version.digest, mean_seconds=2.0, weight=9.0
    )
    body = {"width": 256, "num_images_per_prompt": 4, "tier": "turbo", "project": "prj_x"}
    four = post(bob_api, "/api/v1/forecast", body).json()["gpu_seconds"]
    one = post(bob_api, "/api/v1/forecast", {"width": 256}).json()["gpu_seconds"]
    assert four == pytest.approx(4 * one, rel=0.01)
    assert not Job.objects.exists()


def test_a_wrong_recipe_is_answered_with_its_fields(bob_api: Client, workspace: Workspace) -> None:
    answer = post(bob_api, "/api/v1/forecast", {"width": 100, "stepz": 3})
    assert {error["field"] for error in problem(answer)["errors"]} == {"width", "stepz"}
    answer = post(bob_api, "/api/v1/forecast", {"model": "f" * 64})
    assert problem(answer)["errors"][0]["code"] == "unknown_model"


def test_own_history_counts_before_that_of_all(
    organization_a: Organization, organization_b: Organization
) -> None:
    make_runs(organization_b, [100.0] * 30)
    make_runs(organization_a, [1.0] * 19)
    found = waits_of(Tier.FAST, organization_a.pk)
    assert found is not None
    assert (found.ground, found.runs) == (Ground.FLEET, 49)
    RunRecord.objects.all().delete()
    make_runs(organization_b, [100.0] * 30)
    make_runs(organization_a, [1.0] * 20)
    found = waits_of(Tier.FAST, organization_a.pk)
    assert found is not None
    assert (found.ground, found.runs, found.p50) == (Ground.ORGANIZATION, 20, 1.0)


def test_old_runs_and_other_tiers_say_nothing(organization_a: Organization) -> None:
    make_runs(organization_a, [5.0] * 10, tier="turbo")
    make_runs(organization_a, [5.0] * 10)
    RunRecord.objects.filter(tier="fast").update(ended_at=timezone.now() - timedelta(days=2))
    assert waits_of(Tier.FAST, organization_a.pk) is None
    assert waits_of(Tier.TURBO, organization_a.pk) is not None


HISTORY = Waits(p50=30.0, p90=90.0, runs=50, ground=Ground.FLEET)


def blended(jobs: int, wait: float | None, *, is_free: bool = False) -> TierForecast:
    from jobs.explanations import Ahead

    now = Ahead(jobs_ahead=jobs, own_jobs_ahead=0, wait_seconds=wait, is_free=is_free)
    return tier_forecast(Tier.FAST, now, HISTORY, loading=0.0, has_agents=True)


def test_the_queue_of_this_moment_counts_twice_history_once() -> None:
    assert (blended(9, 60.0).wait_p50_seconds, blended(9, 60.0).wait_p90_seconds) == (50.0, 90.0)
    idle = blended(0, 0.0, is_free=True)
    assert (idle.wait_p50_seconds, idle.wait_p90_seconds) == (0.0, 30.0)
    long = blended(900, 3_000.0)
    assert long.wait_p90_seconds is not None
    assert long.wait_p50_seconds is not None
    assert 2_000 < long.wait_p50_seconds < long.wait_p90_seconds


def test_without_an_agent_no_wait_is_promised() -> None:
    found = tier_forecast(Tier.FAST, None, HISTORY, loading=0.0, has_agents=False)
    assert found.wait_p50_seconds is None
    assert blended(0, None).wait_p50_seconds == 30.0


def test_the_page_says_it_in_words(
    busy: Dispatcher, bobs: Client, room: str, organization_a: Organization, bob_in_a: Actor
) -> None:
    make_runs(organization_a, [float(n) for n in range(40)])
    watch(member_name(organization_a.pk, bob_in_a.user_id))
    busy.run_round()

    answer = bobs.get(f"{room}/forecast", {"width": "256", "image": "1", "strength": "0.5"})

    body = answer.json()
    assert answer["Cache-Control"] == "no-store"
    assert body["price"].endswith("GPU s")
    assert body["is_complete"] is True
    assert body["tiers"]["turbo"]["wait"] == "no history yet"
    assert body["tiers"]["fast"]["ahead"] == "nothing ahead"
    assert "your organization’s last 40 waits" in body["tiers"]["fast"]["ground"]


def test_the_page_refuses_what_is_wrong_and_whom_it_must(
    bobs: Client, room: str, client_of: Callable[[User], Client], victor: User
) -> None:
    headers = {"Accept": "application/json"}
    assert bobs.get(f"{room}/forecast", {"width": "100"}, headers=headers).status_code == 422
    assert client_of(victor).get(f"{room}/forecast").status_code == 403
