"""Pausing, resuming and reordering one's own waiting jobs: services, pages, API, dispatcher."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db.models import F
from django.test import Client

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization, User
from accounts.roles import Role, WorkspaceRole
from jobs.dispatcher import Dispatcher
from jobs.models import Job, JobAttempt
from jobs.services.cancellation import cancel_job
from jobs.services.leasing import lease_attempt
from jobs.services.ordering import Move, move_beside, move_in_line, pause_job, resume_job
from studio.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]


@pytest.fixture
def jobs(bob_in_a: Actor, workspace: Workspace) -> list[Job]:
    """Four of Bob's, in the order of their asking."""
    return [factories.make_job(bob_in_a, workspace) for _ in range(4)]


def order(jobs: list[Job]) -> str:
    """The line as the scheduler sees it: `0123` at the beginning."""
    names = {job.pk: str(at) for at, job in enumerate(jobs)}
    line = Job.objects.filter(pk__in=names).order_by("position", "submitted_at", "id")
    return "".join(names[pk] for pk in line.values_list("pk", flat=True))


@pytest.mark.parametrize(
    ("at", "to", "result"),
    [
        (3, Move.FIRST, "3012"),
        (0, Move.LAST, "1230"),
        (2, Move.UP, "0213"),
        (1, Move.DOWN, "0213"),
        (0, Move.UP, "0123"),
        (3, Move.DOWN, "0123"),
        (0, Move.FIRST, "0123"),
        (3, Move.LAST, "0123"),
    ],
)
def test_a_job_goes_where_it_is_sent(
    jobs: list[Job], bob_in_a: Actor, at: int, to: Move, result: str
) -> None:
    assert order(jobs) == "0123"
    assert move_in_line(job=jobs[at], actor=bob_in_a, to=to) == (result != "0123")
    assert order(jobs) == result


@pytest.mark.parametrize(
    ("at", "beside", "result"),
    [
        (3, {"before": 1}, "0312"),
        (0, {"before": 3}, "1203"),
        (0, {"after": 3}, "1230"),
        (3, {"after": 0}, "0312"),
        (1, {"before": 2}, "0123"),
        (1, {"after": 0}, "0123"),
    ],
)
def test_a_job_goes_beside_another(
    jobs: list[Job], bob_in_a: Actor, at: int, beside: dict[str, int], result: str
) -> None:
    other = {side: jobs[place].pk for side, place in beside.items()}
    move_beside(job=jobs[at], actor=bob_in_a, **other)
    assert order(jobs) == result


def test_hundreds_of_moves_between_the_same_two_still_find_room(
    jobs: list[Job], bob_in_a: Actor
) -> None:
    for _ in range(100):
        move_beside(job=jobs[2], actor=bob_in_a, after=jobs[0].pk)
        move_beside(job=jobs[3], actor=bob_in_a, after=jobs[0].pk)
        jobs[2], jobs[3] = jobs[3], jobs[2]
    assert order(jobs)[0] == "0"
    assert order(jobs)[-1] == "1"


def test_jobs_from_before_positions_were_given_can_be_moved(
    jobs: list[Job], bob_in_a: Actor, workspace: Workspace
) -> None:
    Job.objects.update(position=0)
    move_beside(job=jobs[3], actor=bob_in_a, before=jobs[1].pk)
    assert order(jobs) == "0312"
    newest = factories.make_job(bob_in_a, workspace)
    assert order([*jobs, newest]) == "03124"


def test_a_line_is_of_one_person_and_one_tier(
    bob_in_a: Actor, alice_in_a: Actor, workspace: Workspace
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    with system_scope():
        relaxed = factories.make_job(bob_in_a, workspace, tier="relax")
    for other in (factories.make_job(alice_in_a, workspace), relaxed, job):
        with pytest.raises(InvalidInputError) as caught:
            move_beside(job=job, actor=bob_in_a, before=other.pk)
        assert caught.value.problems[0].code == "not_in_line"


def test_up_passes_the_next_of_the_same_workspace(
    bob_in_a: Actor, workspace: Workspace, organization_a: Organization
) -> None:
    """What the drawer does not show would make a press look as if it did nothing."""
    first = factories.make_job(bob_in_a, workspace)
    elsewhere = factories.make_job(bob_in_a, factories.make_workspace(organization_a, "Other"))
    last = factories.make_job(bob_in_a, workspace)
    move_in_line(job=last, actor=bob_in_a, to=Move.UP)
    assert order([first, elsewhere, last]) == "201"


def test_a_paused_job_is_not_given_to_an_agent_until_it_is_resumed(
    jobs: list[Job], bob_in_a: Actor, agent: AgentHandle
) -> None:
    for job in jobs[1:]:
        cancel_job(job=job, actor=bob_in_a)
    dispatcher = Dispatcher()
    assert pause_job(job=jobs[0], actor=bob_in_a)
    assert dispatcher.run_round() == 0
    assert resume_job(job=jobs[0], actor=bob_in_a)
    assert dispatcher.run_round() == 1


def test_a_job_paused_after_the_round_began_is_not_leased(
    jobs: list[Job], bob_in_a: Actor, agent: AgentHandle
) -> None:
    placement = factories.make_placement(jobs[0], agent.row)
    pause_job(job=jobs[0], actor=bob_in_a)
    assert lease_attempt(placement, boot_id=agent.row.boot_id) is None
    assert not JobAttempt.objects.exists()


def test_a_known_job_that_is_paused_leaves_the_dispatchers_queue(
    jobs: list[Job], bob_in_a: Actor
) -> None:
    dispatcher = Dispatcher()
    dispatcher.run_round()
    pause_job(job=jobs[0], actor=bob_in_a)
    factories.make_agent("late")
    dispatcher.run_round()
    assert jobs[0].pk not in JobAttempt.objects.values_list("job_id", flat=True)


def test_pressing_twice_changes_nothing_and_is_noted_once(jobs: list[Job], bob_in_a: Actor) -> None:
    assert pause_job(job=jobs[0], actor=bob_in_a)
    assert not pause_job(job=jobs[0], actor=bob_in_a)
    assert resume_job(job=jobs[0], actor=bob_in_a)
    assert not resume_job(job=jobs[0], actor=bob_in_a)
    assert move_in_line(job=jobs[0], actor=bob_in_a, to=Move.LAST)
    assert not move_in_line(job=jobs[0], actor=bob_in_a, to=Move.LAST)

    events = AuditEvent.objects.filter(object_id=jobs[0].pk).order_by("id")
    assert list(events.values_list("action", flat=True)) == [
        "job.submitted",
        "job.paused",
        "job.resumed",
        "job.moved",
    ]


def test_what_runs_or_is_over_cannot_be_paused_or_moved(
    jobs: list[Job], bob_in_a: Actor, agent: AgentHandle
) -> None:
    factories.make_attempt(jobs[0], agent.row)
    cancel_job(job=jobs[1], actor=bob_in_a)
    for job, word in ((jobs[0], "being made"), (jobs[1], "over")):
        with pytest.raises(ConflictError) as caught:
            pause_job(job=job, actor=bob_in_a)
        assert word in caught.value.message
        with pytest.raises(ConflictError) as caught:
            move_in_line(job=job, actor=bob_in_a, to=Move.LAST)
        assert word in caught.value.message


def test_a_paused_job_can_be_canceled(jobs: list[Job], bob_in_a: Actor) -> None:
    pause_job(job=jobs[0], actor=bob_in_a)
    assert cancel_job(job=jobs[0], actor=bob_in_a)


def test_others_jobs_are_left_alone_but_by_who_manages(
    jobs: list[Job],
    alice_in_a: Actor,
    organization_a: Organization,
    victor_in_a: Actor,
    charlie_in_b: Actor,
    workspace: Workspace,
) -> None:
    mia = factories.make_member(organization_a, Role.ARTIST)
    mias = factories.make_actor(mia, organization_a)
    for actor, error in (
        (mias, ForbiddenError),
        (victor_in_a, ForbiddenError),
        (charlie_in_b, NotFoundError),
    ):
        with pytest.raises(error):
            pause_job(job=jobs[0], actor=actor)
        with pytest.raises(error):
            move_in_line(job=jobs[3], actor=actor, to=Move.FIRST)
    assert order(jobs) == "0123"
    assert pause_job(job=jobs[0], actor=alice_in_a)  # the owner
    factories.make_grant(workspace, mia, WorkspaceRole.MANAGER)
    assert resume_job(job=jobs[0], actor=factories.make_actor(mia, organization_a))


# ------------------------------------------------------------------ pages and API


def test_the_page_moves_pauses_and_resumes(bobs: Client, room: str, jobs: list[Job]) -> None:
    address = f"{room}/jobs/{jobs[3].pk}"
    assert bobs.post(f"{address}/move", {"to": "first"}).status_code == 204
    assert order(jobs) == "3012"
    assert bobs.post(f"{address}/move", {"after": jobs[0].pk}).status_code == 204
    assert order(jobs) == "0312"
    assert bobs.post(f"{address}/pause").status_code == 204
    text = text_of(bobs.get(f"{room}/queue"))
    assert "Paused" in text
    assert f"resume-{jobs[3].pk}" in text
    assert bobs.post(f"{address}/resume").status_code == 204
    assert "Paused" not in text_of(bobs.get(f"{room}/queue"))


@pytest.mark.parametrize("form", [{}, {"to": "nowhere"}, {"before": "job_none"}])
def test_a_place_that_is_none_is_refused(
    bobs: Client, room: str, jobs: list[Job], form: dict[str, str]
) -> None:
    answer = bobs.post(f"{room}/jobs/{jobs[0].pk}/move", form, headers={"HX-Request": "true"})
    assert answer.status_code == 422


def test_the_drawer_lists_mine_in_their_order_and_lets_me_move_mine_alone(
    bobs: Client, room: str, jobs: list[Job], alice_in_a: Actor, workspace: Workspace
) -> None:
    theirs = factories.make_job(alice_in_a, workspace, prompt="the secret of alice")
    Job.objects.filter(pk=jobs[2].pk).update(position=F("position") - 10**15)

    text = text_of(bobs.get(f"{room}/queue"))

    places = [text.index(f'id="queue-{jobs[at].pk}"') for at in (2, 0, 1, 3)]
    assert places == sorted(places)
    assert 'data-mine="4" data-total="5"' in text
    assert f"handle-{jobs[0].pk}" in text
    assert f"more-{theirs.pk}" not in text
    assert "the secret of alice" not in text


def test_a_viewer_sees_no_buttons(
    client_of: Callable[[User], Client], victor: User, room: str, jobs: list[Job]
) -> None:
    text = text_of(client_of(victor).get(f"{room}/queue"))
    assert "Someone else’s job" in text
    assert "<button" not in text


def test_the_api_moves_pauses_and_resumes(bob_api: Client, jobs: list[Job]) -> None:
    address = f"/api/v1/jobs/{jobs[3].pk}"
    assert post(bob_api, f"{address}/move", {"to": "first"}).status_code == 200
    assert order(jobs) == "3012"
    assert post(bob_api, f"{address}/pause").json()["paused_at"] is not None
    assert post(bob_api, f"{address}/resume").json()["paused_at"] is None
    answer = post(bob_api, f"{address}/move", {"before": 7})
    assert problem(answer)["errors"][0]["code"] == "not_in_line"
    answer = post(bob_api, f"{address}/move", {})
    assert problem(answer)["errors"][0]["field"] == "to"


def test_the_api_says_that_it_is_too_late(
    bob_api: Client, jobs: list[Job], agent: AgentHandle
) -> None:
    factories.make_attempt(jobs[0], agent.row)
    answer = post(bob_api, f"/api/v1/jobs/{jobs[0].pk}/pause")
    assert (answer.status_code, problem(answer)["code"]) == (409, "conflict")
