"""The pages of the room: what a person gets, whole or as a fragment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import User
from gpuagent.protocol.failures import FailureCode
from jobs import selectors
from jobs.models import Job, Output
from jobs.services.transitions import fail_job
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import Answer, text_of
from tests.factories import PROMPT, AgentHandle
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


SCRIPT = {"HX-Request": "true"}


def is_page(response: Answer) -> bool:
    return b"<html" in response.content


# ------------------------------------------------------------------ the room


def test_home_leads_to_the_first_workspace(bobs: Client, room: str) -> None:
    assert bobs.get("/")["Location"] == f"{room}/"


def test_home_without_a_workspace_says_whom_to_ask(
    client_of: Callable[[User], Client],
) -> None:
    response = client_of(factories.make_user()).get("/")
    assert response.status_code == 403
    assert "Ask an admin" in text_of(response)


def test_a_stranger_is_led_to_the_sign_in_page_and_back(client: Client, room: str) -> None:
    response = client.get(f"{room}/")
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={room}/"


def test_the_room_shows_form_gallery_and_queue(bobs: Client, room: str, output: Output) -> None:
    response = bobs.get(f"{room}/")

    text = text_of(response)
    assert response.status_code == 200
    assert is_page(response)
    assert output.pk in text
    assert "DPM++ 2M Karras" in text


def test_the_room_may_load_only_our_own_scripts(bobs: Client, room: str) -> None:
    policy = bobs.get(f"{room}/")["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe-inline" not in policy


def test_a_foreign_room_and_no_room_look_alike(
    bobs: Client, workspace_b: Workspace, room: str
) -> None:
    foreign, unknown = bobs.get(f"/w/{workspace_b.pk}/"), bobs.get("/w/wsp_none/")
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert "Other room" not in text_of(foreign)


@pytest.mark.parametrize("path", ["/w/%00/", "/w/%00/queue", "/w/" + "x" * 3_000 + "/"])
def test_a_strange_address_is_no_server_error(bobs: Client, path: str) -> None:
    assert bobs.get(path).status_code < 500


# ------------------------------------------------------------------ submitting


def test_submitting_answers_with_one_tile_per_picture(bobs: Client, room: str) -> None:
    form = {"prompt": PROMPT, "num_images_per_prompt": "3", "csrfmiddlewaretoken": "x", "seed": ""}

    response = bobs.post(f"{room}/jobs", form, headers=SCRIPT)

    text = text_of(response)
    assert response.status_code == 201
    assert not is_page(response)
    assert text.count("<job-tile") == 3
    assert text.count('data-status="queued"') == 3


def test_a_double_click_answers_with_the_same_tiles(bobs: Client, room: str) -> None:
    form = {"prompt": PROMPT, "idempotency_key": "click"}

    first = bobs.post(f"{room}/jobs", form, headers=SCRIPT)
    second = bobs.post(f"{room}/jobs", form, headers=SCRIPT)

    assert (first.status_code, second.status_code) == (201, 200)
    assert text_of(first) == text_of(second)


def test_a_wrong_field_answers_with_a_fragment_that_names_it(bobs: Client, room: str) -> None:
    response = bobs.post(f"{room}/jobs", {"prompt": "", "width": "100"}, headers=SCRIPT)

    text = text_of(response)
    assert response.status_code == 422
    assert not is_page(response)
    assert 'data-field="prompt"' in text
    assert 'data-field="width"' in text
    assert "100; it must be a multiple of 8, like 96 or 104." in text


def test_without_scripts_submitting_leads_back_to_the_room(bobs: Client, room: str) -> None:
    response = bobs.post(f"{room}/jobs", {"prompt": PROMPT})

    assert (response.status_code, response["Location"]) == (302, f"{room}/")
    with system_scope():
        assert Job.objects.count() == 1


def test_without_scripts_a_wrong_field_answers_with_a_page(bobs: Client, room: str) -> None:
    response = bobs.post(f"{room}/jobs", {"prompt": PROMPT, "width": "100"})

    assert response.status_code == 422
    assert is_page(response)
    assert "must be a multiple of 8" in text_of(response)


def test_a_script_in_a_value_is_escaped(bobs: Client, room: str) -> None:
    form = {"prompt": "x", "sampler": "<script>alert(1)</script>"}
    for headers in ({}, SCRIPT):
        response = bobs.post(f"{room}/jobs", form, headers=headers)
        assert response.status_code == 422
        assert b"<script>alert" not in response.content


def test_a_form_without_the_csrf_token_is_refused(bob: User, room: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)

    response = client.post(f"{room}/jobs", {"prompt": PROMPT})

    assert response.status_code == 403
    assert "open for too long" in text_of(response)
    with system_scope():
        assert not Job.objects.exists()


def test_signed_out_a_form_is_told_so(client: Client, room: str) -> None:
    assert client.post(f"{room}/jobs", {"prompt": PROMPT}).status_code == 401


def test_tiles_show_the_job_as_it_stands(
    bobs: Client, bob_in_a: Actor, workspace: Workspace, room: str, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    tile = f"{room}/jobs/{job.pk}/tile"
    assert 'data-status="queued"' in text_of(bobs.get(tile))

    (made,) = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)

    text = text_of(bobs.get(tile))
    assert f'data-output="{made.pk}"' in text
    assert "/media/" in text


def test_a_failed_tile_says_why(
    bobs: Client, bob_in_a: Actor, workspace: Workspace, room: str
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    with system_scope():
        Job.objects.filter(pk=job.pk).update(status="failed", error_code="model.corrupt")

    assert "The model's files are damaged." in text_of(bobs.get(f"{room}/jobs/{job.pk}/tile"))


def test_a_waiting_job_hands_out_its_parameters(
    bobs: Client, bob_in_a: Actor, workspace: Workspace, room: str
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    assert bobs.get(f"{room}/jobs/{job.pk}/parameters").json()["recipe"]["prompt"] == PROMPT


# ------------------------------------------------------------------ the queue


def test_the_queue_shows_my_prompt_and_hides_those_of_others(
    bobs: Client, bob_in_a: Actor, alice_in_a: Actor, workspace: Workspace, room: str
) -> None:
    factories.make_job(bob_in_a, workspace, prompt="my own idea")
    factories.make_job(alice_in_a, workspace, prompt="the secret of alice")

    text = text_of(bobs.get(f"{room}/queue"))

    assert "my own idea" in text
    assert "the secret of alice" not in text
    assert "Someone else’s job" in text


def test_the_queue_keeps_my_failed_jobs_in_sight_and_nobody_elses(
    bobs: Client, bob_in_a: Actor, alice_in_a: Actor, workspace: Workspace, room: str
) -> None:
    mine = factories.make_job(bob_in_a, workspace)
    theirs = factories.make_job(alice_in_a, workspace)
    with system_scope():
        fail_job(mine.pk, FailureCode.STORE_FAILED)
        fail_job(theirs.pk, FailureCode.STORE_FAILED)

    text = text_of(bobs.get(f"{room}/queue"))

    assert mine.pk in text
    assert "could not be stored" in text
    assert theirs.pk not in text


def test_canceling_answers_with_the_row(
    bobs: Client, bob_in_a: Actor, workspace: Workspace, room: str
) -> None:
    job = factories.make_job(bob_in_a, workspace)

    response = bobs.post(f"{room}/jobs/{job.pk}/cancel")

    assert 'data-status="canceled"' in text_of(response)
    assert bobs.post(f"{room}/jobs/{job.pk}/cancel").status_code == 200


def test_the_row_of_a_running_job_says_that_it_is_being_canceled(
    bobs: Client, bob_in_a: Actor, workspace: Workspace, room: str, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    factories.make_attempt(job, agent.row)

    text = text_of(bobs.post(f"{room}/jobs/{job.pk}/cancel"))

    assert "Canceling…" in text
    assert "hx-post" not in text


# ------------------------------------------------------------------ the gallery


def test_the_gallery_comes_in_pages(
    bobs: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    room: str,
    agent: AgentHandle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        selectors.gallery_page,
        "__kwdefaults__",
        {**(selectors.gallery_page.__kwdefaults__ or {}), "size": 2},
    )
    made = [factories.make_output(bob_in_a, workspace, agent.row).pk for _ in range(3)]

    first = text_of(bobs.get(f"{room}/gallery"))
    second = text_of(bobs.get(f"{room}/gallery?before={made[1]}"))

    assert f"{room}/gallery?before={made[1]}" in first
    assert [pk in first for pk in made] == [False, True, True]
    assert [pk in second for pk in made] == [True, False, False]
    assert "before=" not in second


def test_the_trash_is_a_gallery_of_its_own(bobs: Client, room: str, output: Output) -> None:
    trashed = bobs.post(f"{room}/outputs/{output.pk}/trash")
    assert trashed.status_code == 200
    assert output.pk not in text_of(bobs.get(f"{room}/gallery"))
    assert output.pk in text_of(bobs.get(f"{room}/gallery?trash=1"))

    bobs.post(f"{room}/outputs/{output.pk}/restore")
    assert output.pk in text_of(bobs.get(f"{room}/gallery"))


# ------------------------------------------------------------------ one picture


def test_a_picture_has_a_page_and_a_fragment(bobs: Client, room: str, output: Output) -> None:
    address = f"{room}/outputs/{output.pk}"

    page = bobs.get(address)
    fragment = bobs.get(address, headers={"HX-Request": "true"})

    assert is_page(page)
    assert not is_page(fragment)
    for answer in (page, fragment):
        assert PROMPT in text_of(answer)
        assert "/media/" in text_of(answer)


def test_a_picture_of_another_workspace_is_not_found_in_this_one(
    bobs: Client, workspace: Workspace, output: Output
) -> None:
    second = factories.make_workspace(workspace.organization, "Second")
    assert bobs.get(f"/w/{second.pk}/outputs/{output.pk}").status_code == 404


def test_parameters_are_those_of_just_this_picture(bobs: Client, room: str, output: Output) -> None:
    recipe = bobs.get(f"{room}/outputs/{output.pk}/parameters").json()["recipe"]
    assert (recipe["seed"], recipe["num_images_per_prompt"]) == (output.seed, 1)


def test_a_download_is_the_picture_under_a_name_that_says_nothing(
    bobs: Client, room: str, output: Output
) -> None:
    response = bobs.get(f"{room}/outputs/{output.pk}/download")

    assert response.content == factories.make_png()
    assert response["Content-Type"] == "image/png"
    assert response["Content-Disposition"].startswith('attachment; filename="studio-')
    assert "car" not in response["Content-Disposition"]


def test_making_it_again_answers_with_a_new_tile(bobs: Client, room: str, output: Output) -> None:
    response = bobs.post(f"{room}/outputs/{output.pk}/rerun")

    assert response.status_code == 201
    assert text_of(response).count("<job-tile") == 1
    assert output.job_id not in text_of(response)


def test_the_verdict_is_on_the_page_of_a_rerun(
    bobs: Client, room: str, output: Output, agent: AgentHandle
) -> None:
    bobs.post(f"{room}/outputs/{output.pk}/rerun")
    with system_scope():
        job = Job.objects.select_related("workspace").get(rerun_of=output)
    (again,) = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)

    assert "every byte is the same" in text_of(bobs.get(f"{room}/outputs/{again.pk}"))


def test_a_viewer_sees_but_changes_nothing(
    client_of: Callable[[User], Client], victor: User, room: str, output: Output
) -> None:
    victors = client_of(victor)

    assert victors.get(f"{room}/outputs/{output.pk}").status_code == 200
    for what in ("trash", "restore", "rerun"):
        response = victors.post(f"{room}/outputs/{output.pk}/{what}")
        assert (what, response.status_code) == (what, 403)
