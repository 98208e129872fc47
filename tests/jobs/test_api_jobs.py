"""`/api/v1/`: what programs call. One sentence per behaviour, every endpoint at least once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Membership, Organization, User
from jobs.api import views as api_views
from jobs.models import Job, Output
from library.models import ModelVersion
from studio.core.scoping import system_scope
from tests import factories
from tests.factories import PROMPT
from tests.jobs.calls import post, problem
from tests.test_docs import api_patterns
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]

# ------------------------------------------------------------------ submitting


def test_a_job_is_made_and_has_an_address(bob_api: Client, workspace: Workspace) -> None:
    response = post(bob_api, "/api/v1/jobs", {"prompt": PROMPT, "seed": 5})

    body = response.json()
    assert response.status_code == 201
    assert response["Location"] == f"/api/v1/jobs/{body['id']}"
    assert (body["status"], body["workspace"]) == ("queued", workspace.pk)
    assert (body["recipe"]["prompt"], body["recipe"]["seed"]) == (PROMPT, 5)
    assert bob_api.get(response["Location"]).json() == body


def test_no_answer_is_kept_on_the_way(bob_api: Client, output: Output) -> None:
    for path in (
        f"outputs/{output.pk}",
        "jobs",
        "members",
        "workspaces",
        "jobs/job_1",
        "audit-events",
    ):
        assert bob_api.get(f"/api/v1/{path}")["Cache-Control"] == "no-store", path


def test_wrong_settings_are_one_problem_with_every_field(
    bob_api: Client, workspace: Workspace
) -> None:
    response = post(bob_api, "/api/v1/jobs", {"width": 1, "sampler": "magic", "stepz": 4})

    body = problem(response)
    assert (response.status_code, body["code"]) == (422, "input.invalid")
    assert {e["field"] for e in body["errors"]} == {"prompt", "width", "sampler", "stepz"}


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        ("{", "application/json", 400),
        ("[1]", "application/json", 422),
        ('"text"', "application/json", 422),
        ("prompt=x", "application/x-www-form-urlencoded", 415),
        ("[" * 100_000, "application/json", 400),
    ],
)
def test_a_body_that_is_no_json_object_is_a_problem(
    bob_api: Client, workspace: Workspace, content: str, media_type: str, status: int
) -> None:
    response = bob_api.post("/api/v1/jobs", content, content_type=media_type)
    problem(response)
    assert response.status_code == status


@pytest.mark.parametrize(
    "raw",
    [
        {"sampler": [1]},
        {"sampler": {"a": 1}},
        {"prompt": ["a"]},
        {"prompt": "\ud800"},
        {"negative_prompt": 5},
        {"seed": [1]},
        {"seed": 1e300},
        {"width": True},
        {"width": "9" * 5_000},
        {"width": "1e400"},
        {"image": {}},
        {"model": [1]},
        {"version": [1]},
        {"strength": "nan"},
        {"guidance_scale": 10**400},
    ],
)
def test_a_value_of_a_strange_kind_is_a_422(
    bob_api: Client, workspace: Workspace, raw: dict[str, object]
) -> None:
    response = post(bob_api, "/api/v1/jobs", {"prompt": "x", **raw})
    assert (response.status_code, problem(response)["code"]) == (422, "input.invalid")


@pytest.mark.parametrize(
    ("named", "status"), [("wsp_nowhere", 404), (["wsp"], 404), ("a\x00b", 422), ({"a": 1}, 404)]
)
def test_a_workspace_that_is_not_there_is_a_problem(
    bob_api: Client, workspace: Workspace, named: object, status: int
) -> None:
    response = post(bob_api, "/api/v1/jobs", {"prompt": "x", "workspace": named})
    assert (response.status_code, problem(response)["status"]) == (status, status)


def test_an_organization_without_a_workspace_is_a_404(bob_api: Client) -> None:
    assert post(bob_api, "/api/v1/jobs", {"prompt": "x"}).status_code == 404


def test_the_same_idempotency_key_answers_200_with_the_same_job(
    bob_api: Client, workspace: Workspace
) -> None:
    first = post(bob_api, "/api/v1/jobs", {"prompt": "x"}, **{"Idempotency-Key": "k1"})
    again = post(bob_api, "/api/v1/jobs", {"prompt": "x"}, **{"Idempotency-Key": "k1"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]


# ------------------------------------------------------------------ who may


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer stu_wrong", "Basic YWxpY2U6eA==", "Bearer \xe9"]
)
def test_without_a_valid_token_every_call_is_a_401(workspace: Workspace, header: str) -> None:
    client = Client(headers={"Authorization": header} if header else {})

    response = client.get("/api/v1/jobs")

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert problem(response)["code"] == "unauthenticated"


def test_a_session_is_no_credential_of_the_api(
    client_of: Callable[[User], Client], bob: User, workspace: Workspace
) -> None:
    assert client_of(bob).get("/api/v1/jobs").status_code == 401


@pytest.mark.parametrize("end", ["revoked", "expired", "left", "deactivated"])
def test_a_token_ends_with_its_revocation_its_time_or_its_user(
    bob_api: Client, bob: User, workspace: Workspace, end: str
) -> None:
    assert bob_api.get("/api/v1/jobs").status_code == 200
    if end == "revoked":
        ApiToken.objects.update(revoked_at=timezone.now())
    elif end == "expired":
        ApiToken.objects.update(expires_at=timezone.now())
    elif end == "left":
        Membership.objects.filter(user=bob).delete()
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)

    assert bob_api.get("/api/v1/jobs").status_code == 401


def test_a_viewer_reads_but_does_not_write(
    api_of: Callable[[User, Organization], Client],
    victor: User,
    organization_a: Organization,
    output: Output,
) -> None:
    api = api_of(victor, organization_a)

    assert api.get(f"/api/v1/jobs/{output.job_id}").status_code == 200
    refused = post(api, "/api/v1/jobs", {"prompt": "x"})
    assert (refused.status_code, problem(refused)["code"]) == (403, "forbidden")
    assert api.delete(f"/api/v1/outputs/{output.pk}").status_code == 403


def test_billing_sees_no_pictures(
    api_of: Callable[[User, Organization], Client],
    bill: User,
    organization_a: Organization,
    workspace: Workspace,
) -> None:
    api = api_of(bill, organization_a)
    assert [api.get(f"/api/v1/{what}").status_code for what in ("jobs", "outputs", "models")] == [
        403,
        403,
        403,
    ]


def test_foreign_ids_and_unknown_ids_answer_alike(
    api_of: Callable[[User, Organization], Client],
    charlie: User,
    organization_b: Organization,
    workspace_b: Workspace,
    output: Output,
) -> None:
    api = api_of(charlie, organization_b)
    pairs = [
        (f"/api/v1/jobs/{output.job_id}", "/api/v1/jobs/job_none"),
        (f"/api/v1/outputs/{output.pk}", "/api/v1/outputs/out_none"),
        (f"/api/v1/jobs?workspace={output.workspace_id}", "/api/v1/jobs?workspace=wsp_none"),
    ]
    for foreign, unknown in pairs:
        first, second = api.get(foreign), api.get(unknown)
        assert (first.status_code, first.content) == (404, second.content)


# ------------------------------------------------------------------ reading


def test_jobs_are_listed_newest_first_in_pages(
    bob_api: Client, bob_in_a: Actor, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_views, "PAGE_SIZE", 2)
    ids = [factories.make_job(bob_in_a, workspace).pk for _ in range(5)]

    found, before, pages = [], "", 0
    while True:
        page = bob_api.get("/api/v1/jobs" + (f"?before={before}" if before else "")).json()
        found += [job["id"] for job in page["results"]]
        pages, before = pages + 1, page["next"]
        if before is None:
            break

    assert found == sorted(ids, reverse=True)
    assert pages == 3


@pytest.mark.parametrize("query", ["before=%00", "workspace=%00", "before=" + "z" * 5_000])
def test_a_strange_query_is_no_server_error(
    bob_api: Client, workspace: Workspace, query: str
) -> None:
    assert bob_api.get(f"/api/v1/jobs?{query}").status_code < 500
    assert bob_api.get(f"/api/v1/outputs?{query}").status_code < 500


def test_an_address_that_is_nothing_is_a_problem_too(bob_api: Client) -> None:
    response = bob_api.get("/api/v1/nothing")
    assert (response.status_code, problem(response)["code"]) == (404, "not_found")


def test_a_failed_job_says_why_in_a_sentence(
    bob_api: Client, bob_in_a: Actor, workspace: Workspace
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    with system_scope():
        Job.objects.filter(pk=job.pk).update(status="failed", error_code="gpu.out_of_memory")

    assert bob_api.get(f"/api/v1/jobs/{job.pk}").json()["error"] == {
        "code": "gpu.out_of_memory",
        "message": "The agent ran out of memory. Make the picture smaller.",
    }


def test_pictures_have_signed_addresses_that_work(bob_api: Client, output: Output) -> None:
    (listed,) = bob_api.get("/api/v1/outputs").json()["results"]
    detail = bob_api.get(f"/api/v1/outputs/{output.pk}").json()

    assert listed["id"] == output.pk
    assert detail["manifest"]["recipe"]["prompt"] == PROMPT
    assert detail["rerun"] is None
    path = detail["picture_url"].split("/", 3)[3]
    assert Client().get("/" + path).content == factories.make_png()


def test_a_trashed_picture_moves_from_one_list_to_the_other_and_back(
    bob_api: Client, output: Output
) -> None:
    def listed(query: str = "") -> list[str]:
        return [o["id"] for o in bob_api.get(f"/api/v1/outputs{query}").json()["results"]]

    assert bob_api.delete(f"/api/v1/outputs/{output.pk}").status_code == 204
    assert (listed(), listed("?trash=true")) == ([], [output.pk])

    restored = post(bob_api, f"/api/v1/outputs/{output.pk}/restore")
    assert (restored.status_code, restored.json()["trashed_at"]) == (200, None)
    assert (listed(), listed("?trash=1")) == ([output.pk], [])


def test_a_picture_is_made_again(bob_api: Client, output: Output) -> None:
    response = post(bob_api, f"/api/v1/outputs/{output.pk}/rerun")

    assert response.status_code == 201
    assert response.json()["recipe"]["seed"] == output.seed


def test_canceling_answers_with_the_job(
    bob_api: Client, bob_in_a: Actor, workspace: Workspace
) -> None:
    job = factories.make_job(bob_in_a, workspace)

    first = post(bob_api, f"/api/v1/jobs/{job.pk}/cancel")
    again = post(bob_api, f"/api/v1/jobs/{job.pk}/cancel")

    assert (first.json()["status"], again.status_code) == ("canceled", 200)


def test_models_samplers_and_workspaces_are_listed(
    bob_api: Client, workspace: Workspace, workspace_b: Workspace, model_version: ModelVersion
) -> None:
    (model,) = bob_api.get("/api/v1/models").json()
    samplers = bob_api.get("/api/v1/samplers").json()
    workspaces = bob_api.get("/api/v1/workspaces").json()

    assert (model["digest"], model["default_width"]) == (model_version.digest, 128)
    euler = {"id": "euler", "label": "Euler", "architectures": ["sd15", "sdxl", "sd3", "flux"]}
    assert euler in samplers
    (room,) = workspaces
    assert room == {
        "id": workspace.pk,
        "name": "Room",
        "color": workspace.color,
        "is_restricted": False,
        "created_at": room["created_at"],
        "deleted_at": None,
        "destroy_at": None,
    }


def test_an_upload_becomes_a_starting_picture(bob_api: Client, workspace: Workspace) -> None:
    file = SimpleUploadedFile("cat.png", factories.make_png("red"), "image/png")

    response = bob_api.post("/api/v1/uploads", {"image": file})

    body = response.json()
    assert (response.status_code, body["width"], body["height"]) == (201, 64, 64)
    made = post(bob_api, "/api/v1/jobs", {"prompt": "x", "image": body["sha256"]})
    assert made.status_code == 201


def test_a_broken_upload_is_a_problem(bob_api: Client, workspace: Workspace) -> None:
    file = SimpleUploadedFile("cat.png", b"no picture", "image/png")
    assert problem(bob_api.post("/api/v1/uploads", {"image": file}))["code"] == "input.invalid"


def test_the_openapi_document_names_every_path(client: Client) -> None:
    document = client.get("/api/schema/").json()
    assert document["openapi"].startswith("3.")
    routes = (f"/api/v1/{pattern.pattern}" for pattern in api_patterns())
    paths = {re.sub(r"<str:(\w+)>", r"{\1}", route) for route in routes}
    assert set(document["paths"]) == paths
    assert len(paths) > 15
