"""Asking again for what failed or was canceled; and the tier beside the recipe."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import AuditEvent
from gpuagent.protocol.failures import FailureCode
from jobs.models import Job, Output
from jobs.services.cancellation import cancel_job
from jobs.services.retrying import retry_job
from jobs.services.submission import submit_job
from jobs.services.transitions import fail_job
from studio.core.errors import ConflictError
from tests import factories
from tests.answers import text_of
from tests.factories import PROMPT
from tests.jobs.calls import post, problem
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system", "model_version")]


@pytest.fixture
def failed(bob_in_a: Actor, workspace: Workspace) -> Job:
    project = factories.make_project(bob_in_a, workspace)
    raw = {"prompt": PROMPT, "seed": 5, "num_images_per_prompt": 2}
    job = submit_job(
        actor=bob_in_a, workspace=workspace, raw=raw, tier="relax", project_id=project.pk
    ).job
    fail_job(job.pk, FailureCode.STORE_FAILED)
    job.refresh_from_db()
    return job


def test_a_retry_has_the_same_recipe_project_and_tier_sealed_anew(
    failed: Job, bob_in_a: Actor
) -> None:
    again = retry_job(job=failed, actor=bob_in_a).job

    assert factories.stored_recipe(again) == factories.stored_recipe(failed)
    assert bytes(again.sealed_recipe) != bytes(failed.sealed_recipe)
    assert (again.tier, again.project_id) == ("relax", failed.project_id)
    event = AuditEvent.objects.get(object_id=again.pk)
    assert event.details["retry"] == failed.pk


def test_two_presses_make_one_job_and_a_third_after_a_failure_another(
    failed: Job, bob_in_a: Actor
) -> None:
    first = retry_job(job=failed, actor=bob_in_a)
    second = retry_job(job=failed, actor=bob_in_a)
    assert (first.is_new, second.is_new, second.job.pk) == (True, False, first.job.pk)

    fail_job(first.job.pk, FailureCode.STORE_FAILED)
    third = retry_job(job=failed, actor=bob_in_a)
    assert third.is_new
    assert third.job.pk != first.job.pk


def test_a_canceled_job_can_be_asked_for_again_and_one_that_waits_cannot(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    with pytest.raises(ConflictError):
        retry_job(job=job, actor=bob_in_a)
    cancel_job(job=job, actor=bob_in_a)
    job.refresh_from_db()
    assert retry_job(job=job, actor=bob_in_a).is_new


def test_an_archived_project_is_left_out(failed: Job, bob_in_a: Actor) -> None:
    assert failed.project is not None
    failed.project.archived_at = failed.submitted_at
    failed.project.save()
    assert retry_job(job=failed, actor=bob_in_a).job.project_id is None


def test_the_page_answers_with_tiles_and_the_drawer_forgets_the_failure(
    bobs: Client, room: str, failed: Job
) -> None:
    assert f"retry-{failed.pk}" in text_of(bobs.get(f"{room}/queue"))

    answers = [bobs.post(f"{room}/jobs/{failed.pk}/retry") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 200]
    assert text_of(answers[0]) == text_of(answers[1])
    assert text_of(answers[0]).count("<job-tile") == 2
    assert f"retry-{failed.pk}" not in text_of(bobs.get(f"{room}/queue"))


def test_the_drawer_offers_what_was_canceled_by_its_owner(
    bobs: Client, room: str, bob_in_a: Actor, workspace: Workspace
) -> None:
    job = factories.make_job(bob_in_a, workspace)
    cancel_job(job=job, actor=bob_in_a)
    assert f"retry-{job.pk}" in text_of(bobs.get(f"{room}/queue"))


def test_the_api_retries(bob_api: Client, failed: Job, output: Output) -> None:
    address = f"/api/v1/jobs/{failed.pk}/retry"
    first, second = post(bob_api, address), post(bob_api, address)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    other = post(bob_api, address, **{"Idempotency-Key": "mine"})
    assert other.json()["id"] != first.json()["id"]
    assert problem(post(bob_api, f"/api/v1/jobs/{output.job_id}/retry"))["code"] == "conflict"


# ------------------------------------------------------------------ tiers


@pytest.mark.parametrize("tier", ["turbo", "fast", "relax", "background"])
def test_the_tier_is_taken_and_told_and_no_part_of_the_recipe(
    bob_api: Client, workspace: Workspace, tier: str
) -> None:
    answer = post(bob_api, "/api/v1/jobs", {"prompt": PROMPT, "tier": tier})
    assert answer.status_code == 201
    body = answer.json()
    assert body["tier"] == tier
    assert "tier" not in body["recipe"]
    assert body["gpu_seconds"] > 0


def test_without_a_tier_it_is_fast(bob_api: Client, workspace: Workspace) -> None:
    for tier in (None, ""):
        body = post(bob_api, "/api/v1/jobs", {"prompt": PROMPT, "tier": tier}).json()
        assert body["tier"] == "fast"


@pytest.mark.parametrize("tier", ["TURBO", "slow", 3, ["turbo"]])
def test_a_tier_that_is_none_is_named(bob_api: Client, workspace: Workspace, tier: object) -> None:
    answer = post(bob_api, "/api/v1/jobs", {"prompt": PROMPT, "tier": tier})
    [error] = problem(answer)["errors"]
    assert (error["field"], error["code"]) == ("tier", "unknown_tier")
    assert "turbo" in error["message"]


def test_the_form_sends_the_tier(bobs: Client, room: str) -> None:
    bobs.post(f"{room}/jobs", {"prompt": PROMPT, "tier": "turbo"}, headers={"HX-Request": "true"})
    assert Job.objects.get().tier == "turbo"
    assert 'value="turbo"' in text_of(bobs.get(f"{room}/"))


def test_run_again_keeps_the_tier_unless_another_is_named(bob_api: Client, output: Output) -> None:
    Job.objects.filter(pk=output.job_id).update(tier="relax")
    address = f"/api/v1/outputs/{output.pk}/rerun"
    assert post(bob_api, address).json()["tier"] == "relax"
    assert post(bob_api, address, {"tier": "turbo"}).json()["tier"] == "turbo"
