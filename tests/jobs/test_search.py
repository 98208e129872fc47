"""Search over prompts: words are found, and nothing that lies in the database says which."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs import selectors
from jobs.models import Job, Output
from jobs.search import index_terms, query_terms, words_of
from jobs.services.indexing import index_prompts
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import AgentHandle
from workspaces.models import Workspace
from workspaces.services.keys import search_key
from workspaces.services.rotation import retire_keys, rotate_workspace_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red CAR", {"a", "red", "car"}),
        ("cars, boxes; cities & glasses", {"car", "box", "city", "glass"}),
        ("glass bus this", {"glass", "bus", "this"}),
        ("Café crème, STRASSE straße", {"cafe", "creme", "strasse"}),
        ("f/1.8 85mm, 4k", {"f", "1", "8", "85mm", "4k"}),
        ("snake_case", {"snake", "case"}),
        ("Дома и ёлки", {"дома", "и", "елки"}),
        ("", set()),
        ("!!! –", set()),
    ],
)
def test_words_are_compared_without_case_accents_and_plural(text: str, words: set[str]) -> None:
    assert words_of(text) == words


def test_the_same_word_is_another_number_in_another_workspace(
    workspace: Workspace, workspace_b: Workspace, organization_a: Organization
) -> None:
    beside = factories.make_workspace(organization_a, "Beside")
    with system_scope():
        terms = [set(index_terms(place, "red car")) for place in (workspace, workspace_b, beside)]
        again = set(index_terms(workspace, "CARS, red"))
    assert not terms[0] & terms[1]
    assert not terms[0] & terms[2]
    assert terms[0] == again
    assert all(0 <= term < 2**63 for term in terms[0])
    # Two words, and the mark of being indexed.
    assert len(terms[0]) == 3


def test_a_job_is_found_by_words_of_both_prompts(bob_in_a: Actor, workspace: Workspace) -> None:
    job = factories.make_job(bob_in_a, workspace, prompt="red cars", negative_prompt="blurry")
    with system_scope():
        job.refresh_from_db()
        found = set(job.search_terms)
        assert set(query_terms(workspace, "Car blurry")) <= found
        assert not set(query_terms(workspace, "boat")) <= found


@pytest.fixture
def three(bob_in_a: Actor, workspace: Workspace, agent: AgentHandle) -> list[Output]:
    prompts = ("a red car", "a blue car", "a red boat")
    return [factories.make_output(bob_in_a, workspace, agent.row, prompt=p) for p in prompts]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("red", [2, 0]),
        ("CARS", [1, 0]),
        ("red car", [0]),
        ("red plane", []),
        ("re", []),
        ("   ", [2, 1, 0]),
        ("!!", []),
    ],
)
def test_all_words_must_be_there(
    bobs: Client, bob_api: Client, room: str, three: list[Output], query: str, expected: list[int]
) -> None:
    wanted = [three[at].pk for at in expected]

    page = text_of(bobs.post(f"{room}/gallery", {"q": query}))
    listed = bob_api.get("/api/v1/outputs", {"q": query}).json()["results"]
    jobs = bob_api.get("/api/v1/jobs", {"q": query}).json()["results"]

    assert [output["id"] for output in listed] == wanted
    assert [job["id"] for job in jobs] == [three[at].job_id for at in expected]
    assert [output.pk for output in reversed(three) if output.pk in page] == wanted


def test_a_search_goes_on_over_pages_and_its_words_are_in_no_address(
    bobs: Client,
    room: str,
    bob_in_a: Actor,
    workspace: Workspace,
    three: list[Output],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.presenters.gallery_page.__kwdefaults__", _small())

    first = text_of(bobs.post(f"{room}/gallery", {"q": "car"}))
    after = text_of(bobs.post(f"{room}/gallery", {"q": "car", "before": three[1].pk}))

    assert three[1].pk in first
    assert f'"before": "{three[1].pk}"' in first
    assert "?q" not in first
    assert "&q" not in first
    assert three[0].pk in after
    assert three[1].pk not in after
    # Posted words alone are searched for.
    assert three[2].pk in text_of(bobs.get(f"{room}/gallery?q=car"))


def _small() -> dict[str, object]:

    return {**(selectors.gallery_page.__kwdefaults__ or {}), "size": 1}


def test_old_jobs_are_indexed_and_a_run_that_broke_off_goes_on(
    bob_in_a: Actor, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given: three jobs from before there was a search, one of them without any word.
    jobs = [factories.make_job(bob_in_a, workspace, prompt=p) for p in ("red car", "boat", "–")]
    with system_scope():
        expected = {job.pk: set(Job.objects.get(pk=job.pk).search_terms) for job in jobs}
        Job.objects.filter(pk__in=[jobs[0].pk, jobs[2].pk]).update(search_terms=[])

    call_command("index_prompts")

    assert "2 jobs indexed" in capsys.readouterr().out
    with system_scope():
        for job in jobs:
            job.refresh_from_db()
            assert set(job.search_terms) == expected[job.pk]
        assert index_prompts() == (0, 0)


def test_a_job_that_does_not_open_does_not_stop_the_others(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    broken = factories.make_job(bob_in_a, workspace)
    sound = factories.make_job(bob_in_a, workspace, prompt="red")
    with system_scope():
        Job.objects.update(search_terms=[])
        Job.objects.filter(pk=broken.pk).update(sealed_recipe=b"spoiled" * 20)
        assert index_prompts() == (1, 1)
        sound.refresh_from_db()
        assert len(sound.search_terms) == 2


def test_the_search_key_outlives_a_change_of_the_workspaces_key(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    with system_scope():
        before = search_key(workspace)
        rotate_workspace_key(workspace.pk)
        Workspace.objects.update(rotated_at="2020-01-01T00:00:00Z")
        assert retire_keys() == [workspace.pk]
        assert search_key(Workspace.objects.get(pk=workspace.pk)) == before


@pytest.mark.django_db(transaction=True)
def test_many_who_need_the_key_first_get_the_same(workspace: Workspace) -> None:
    start, keys = threading.Barrier(6), []

    def ask() -> None:
        with system_scope():
            row = Workspace.objects.get(pk=workspace.pk)
            start.wait()
            keys.append(search_key(row))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1


def test_another_organization_finds_nothing(
    three: list[Output],
    charlie: User,
    organization_b: Organization,
    workspace_b: Workspace,
    api_of: Callable[[User, Organization], Client],
) -> None:
    answer = api_of(charlie, organization_b).get("/api/v1/outputs", {"q": "car"}).json()
    assert answer["results"] == []
