"""Requests with alternatives: counted, submitted, made again; wildcard lists behind their walls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization, User
from jobs.models import Job, Wildcard
from jobs.recipes import open_recipe
from jobs.services.outputs import rerun_output
from jobs.services.wildcards import change_wildcard, open_list
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Workspace
from workspaces.services.rotation import rotate_workspace_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version", "workspace")]


@pytest.fixture
def api(bob_api: Client) -> Client:
    return bob_api


@pytest.fixture
def charlies_api(
    api_of: Callable[[User, Organization], Client],
    charlie: User,
    organization_b: Organization,
    workspace_b: Workspace,
) -> Client:
    return api_of(charlie, organization_b)


def recipes() -> list[dict[str, object]]:
    with system_scope():
        jobs = Job.objects.select_related("workspace").order_by("pk")
        return [open_recipe(job).to_wire() for job in jobs]


def prompts() -> list[object]:
    return [recipe["prompt"] for recipe in recipes()]


def test_every_combination_is_a_job_with_the_same_seed(api: Client, workspace: Workspace) -> None:
    body = {
        "prompt": "a {red|blue} {mug|car}",
        "alternatives": "all",
        "seed": 5,
        "num_images_per_prompt": 2,
    }
    counted = post(api, "/api/v1/batches/count", body)
    assert counted.status_code == 200
    assert counted.json()["pictures"] == 8
    assert counted.json()["jobs"] == 4
    assert recipes() == [], "counting makes nothing"
    made = post(api, "/api/v1/batches", body)
    assert made.status_code == 201
    assert made.json()["pictures"] == 8
    assert prompts() == counted.json()["prompts"]
    assert prompts() == ["a red mug", "a red car", "a blue mug", "a blue car"]
    assert {recipe["seed"] for recipe in recipes()} == {5}


def test_each_picture_draws_words_of_its_own_by_its_seed(api: Client) -> None:
    body = {"prompt": "a {red|blue|green|pink} mug", "seed": 5, "num_images_per_prompt": 12}
    assert post(api, "/api/v1/batches", body).status_code == 201
    first = recipes()
    assert [recipe["seed"] for recipe in first] == list(range(5, 17))
    assert len(set(prompts())) > 2
    assert post(api, "/api/v1/batches", body).status_code == 201
    assert recipes()[12:] == first, "the same seeds draw the same words"


def test_one_job_draws_once(api: Client) -> None:
    body = {"prompt": "a {red|blue} mug", "seed": 5, "num_images_per_prompt": 3}
    answer = post(api, "/api/v1/jobs", body)
    assert answer.status_code == 201
    assert answer.json()["recipe"]["prompt"] in ("a red mug", "a blue mug")
    refused = post(api, "/api/v1/jobs", {**body, "alternatives": "all"})
    assert problem(refused)["errors"][0]["code"] == "needs_batch"
    as_written = post(api, "/api/v1/jobs", {**body, "alternatives": "off"})
    assert as_written.json()["recipe"]["prompt"] == body["prompt"]


def test_a_key_makes_a_batch_once(api: Client) -> None:
    body = {"prompt": "a {red|blue} mug", "alternatives": "all"}
    first = post(api, "/api/v1/batches", body, **{"Idempotency-Key": "k"})
    again = post(api, "/api/v1/batches", body, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert [j["id"] for j in first.json()["jobs"]] == [j["id"] for j in again.json()["jobs"]]


def test_one_that_is_wrong_leaves_none(api: Client) -> None:
    body = {"prompt": "a mug{|" + " x" * 1_990 + "__long__}", "alternatives": "all"}
    assert (
        post(api, "/api/v1/wildcards", {"name": "long", "entries": ["y" * 400]}).status_code == 201
    )
    refused = post(api, "/api/v1/batches", body)
    assert problem(refused)["errors"][0]["code"] == "too_long"
    assert recipes() == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"prompt": "{a|b}" * 7, "alternatives": "all"}, "too_many_prompts"),
        ({"prompt": "{a|b}" * 500, "alternatives": "all"}, "too_many_prompts"),
        ({"prompt": "a __beast__"}, "unknown_wildcard"),
        ({"prompt": "x", "alternatives": "some"}, "unknown_choosing"),
        ({"prompt": 5}, "not_text"),
        ({"prompt": "{a|b}", "num_images_per_prompt": 99}, "out_of_range"),
        ({"prompt": "{a|b}", "seed": "x"}, "not_a_number"),
    ],
)
def test_what_cannot_be_is_told(api: Client, body: dict[str, object], code: str) -> None:
    refused = post(api, "/api/v1/batches", body)
    assert refused.status_code == 422
    assert problem(refused)["errors"][0]["code"] == code
    assert recipes() == []


def test_run_again_keeps_the_words_whatever_became_of_the_list(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, api: Client
) -> None:
    row = factories.make_wildcard(bob_in_a, workspace, entries=["red {cup|mug}"])
    assert post(api, "/api/v1/jobs", {"prompt": "a __colors__", "seed": 1}).status_code == 201
    with system_scope():
        job = Job.objects.select_related("workspace").get()
    [output] = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    with system_scope():
        change_wildcard(actor=bob_in_a, wildcard=row, entries=["blue"])
        again = rerun_output(output=output, actor=bob_in_a).job
        assert open_recipe(again) == open_recipe(job)


def test_the_form_counts_and_makes_all(bobs: Client, room: str) -> None:
    form = {"prompt": "a {red|blue|green} mug", "alternatives": "all", "seed": "3"}
    counted = bobs.post(f"{room}/alternatives", form)
    assert counted.json() == {"varies": True, "jobs": 3, "pictures": 3}
    made = bobs.post(f"{room}/jobs", form, headers={"HX-Request": "true"})
    assert made.status_code == 201
    assert text_of(made).count("<job-tile") == 3
    assert bobs.post(f"{room}/alternatives", {"prompt": "a mug"}).json()["varies"] is False


def test_parameters_of_a_picture_come_back_as_they_were(bobs: Client, room: str) -> None:
    form = {"prompt": r"a \{red|blue\} mug", "seed": "3"}
    bobs.post(f"{room}/jobs", form, headers={"HX-Request": "true"})
    assert prompts() == ["a {red|blue} mug"]
    with system_scope():
        job = Job.objects.get()
    given = bobs.get(f"{room}/jobs/{job.pk}/parameters").json()["recipe"]["prompt"]
    bobs.post(f"{room}/jobs", {"prompt": given}, headers={"HX-Request": "true"})
    assert prompts() == ["a {red|blue} mug"] * 2


def test_lists_are_written_changed_and_removed(api: Client) -> None:
    made = post(api, "/api/v1/wildcards", {"name": "animals", "entries": ["a fox", " ", "a hare"]})
    assert made.status_code == 201
    assert made.json()["entries"] == ["a fox", "a hare"]
    address = f"/api/v1/wildcards/{made.json()['id']}"
    changed = api.patch(address, '{"entries": ["an owl"]}', "application/json")
    assert changed.json() == {**made.json(), "entries": ["an owl"]}
    assert api.get(address).json() == changed.json()
    assert api.get("/api/v1/wildcards").json() == [changed.json()]
    assert api.delete(address).status_code == 204
    assert api.get("/api/v1/wildcards").json() == []
    with system_scope():
        actions = AuditEvent.objects.filter(action__startswith="wildcard.").order_by("pk")
        assert [event.action.split(".")[1] for event in actions] == [
            "created",
            "changed",
            "removed",
        ]


@pytest.mark.parametrize(
    ("name", "entries", "code"),
    [
        ("", ["a"], "missing"),
        ("x" * 61, ["a"], "too_long"),
        ("a__b", ["a"], "not_a_name"),
        ("_a", ["a"], "not_a_name"),
        ("COLORS", ["a"], "taken"),
        ("a", [], "missing"),
        ("a", "abc", "not_a_list"),
        ("a", [1], "not_a_list"),
        ("a", ["x"] * 1_001, "too_many"),
        ("a", ["x" * 501], "too_long"),
        ("a", ["\x00"], "not_text"),
        ("a", ["__a__"], "endless_wildcard"),
        ("a", ["__nowhere__"], "unknown_wildcard"),
    ],
)
def test_what_cannot_be_a_list_is_told(
    bob_in_a: Actor, workspace: Workspace, api: Client, name: str, entries: object, code: str
) -> None:
    factories.make_wildcard(bob_in_a, workspace)
    refused = post(api, "/api/v1/wildcards", {"name": name, "entries": entries})
    assert problem(refused)["errors"][0]["code"] == code


def test_the_page_keeps_what_was_typed_and_removes(bobs: Client, room: str) -> None:
    bad = bobs.post(f"{room}/wildcards", {"name": "a b", "entries": "# none\n\n"})
    assert bad.status_code == 422
    assert 'value="a b"' in text_of(bad)
    bobs.post(f"{room}/wildcards", {"name": "a b", "entries": "# a remark\r\nfox\r\nhare"})
    with system_scope():
        row = Wildcard.objects.select_related("workspace").get()
        assert open_list(row).entries == ("fox", "hare")
    wrong = bobs.post(f"{room}/wildcards/{row.pk}", {"name": "", "entries": "wolf"})
    assert wrong.status_code == 422
    assert "wolf" in text_of(wrong)
    bobs.post(f"{room}/wildcards/{row.pk}", {"remove": "1"})
    assert "No lists yet" in text_of(bobs.get(f"{room}/wildcards"))


def test_what_is_in_a_list_lies_sealed_and_moves_with_the_key(
    bob_in_a: Actor, alice_in_a: Actor, workspace: Workspace
) -> None:
    row = factories.make_wildcard(bob_in_a, workspace, "secrets", ["the merger"])
    assert b"merger" not in bytes(row.sealed_list)
    assert b"secrets" not in bytes(row.sealed_list)
    with system_scope():
        before = bytes(row.sealed_list)
        rotate_workspace_key(workspace.pk)
        moved = Wildcard.objects.select_related("workspace").get()
        assert bytes(moved.sealed_list) != before
        assert open_list(moved).entries == ("the merger",)


def test_lists_of_others_are_not_there(
    bob_in_a: Actor, workspace: Workspace, charlies_api: Client
) -> None:
    row = factories.make_wildcard(bob_in_a, workspace)
    assert charlies_api.get("/api/v1/wildcards").json() == []
    assert charlies_api.get(f"/api/v1/wildcards/{row.pk}").status_code == 404
    refused = post(charlies_api, "/api/v1/jobs", {"prompt": "__colors__"})
    assert problem(refused)["errors"][0]["code"] == "unknown_wildcard"
    assert "There are no lists yet" in problem(refused)["errors"][0]["message"]
