"""`submit_job`: checked, priced, sealed and queued, or refused with every field named."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import connection
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent
from gpuagent.protocol.recipe import PROMPT_MAX_CHARACTERS
from jobs.lifecycle import JobStatus
from jobs.models import Agent, InputRole, Job
from jobs.services.submission import Submitted, submit_job
from library.models import ModelVersion
from studio.core.errors import ConflictError, ForbiddenError, InvalidInputError
from studio.core.scoping import organization_scope
from tests import factories
from tests.factories import GIB, PROMPT
from tests.looking import all_columns
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_a(workspace: Workspace, model_version: ModelVersion) -> Iterator[None]:
    with organization_scope(workspace.organization_id):
        yield


def submit(actor: Actor, workspace: Workspace, key: str | None = None, **raw: object) -> Submitted:
    values = {"prompt": PROMPT, **raw}
    return submit_job(actor=actor, workspace=workspace, raw=values, idempotency_key=key)


def codes_of(error: InvalidInputError) -> list[tuple[str, str]]:
    return [(problem.field, problem.code) for problem in error.problems]


def test_it_queues_a_job_with_a_sealed_recipe(bob_in_a: Actor, workspace: Workspace) -> None:
    submitted = submit(bob_in_a, workspace, seed=11, num_images_per_prompt=3)

    job = submitted.job
    recipe = factories.stored_recipe(job)
    assert submitted.is_new
    assert job.status == JobStatus.QUEUED.value
    assert (recipe["prompt"], recipe["seed"], job.count) == (PROMPT, 11, 3)
    assert job.cost_seconds > 0
    assert job.memory_bytes > 0


def test_it_writes_an_audit_event_without_content(bob_in_a: Actor, workspace: Workspace) -> None:
    job = submit(bob_in_a, workspace).job

    event = AuditEvent.objects.get(object_id=job.pk)
    assert (event.action, event.actor_id) == ("job.submitted", bob_in_a.user_id)


def test_it_chooses_a_model_and_a_random_seed_when_none_is_given(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion
) -> None:
    first, second = submit(bob_in_a, workspace).job, submit(bob_in_a, workspace).job

    assert factories.stored_recipe(first)["model"] == model_version.digest
    assert factories.stored_recipe(first)["seed"] != factories.stored_recipe(second)["seed"]


@pytest.mark.parametrize(
    ("raw", "field", "code"),
    [
        ({"prompt": ""}, "prompt", "required"),
        ({"prompt": "  \n"}, "prompt", "required"),
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": 7}, "prompt", "not_text"),
        ({"prompt": "a\x00b"}, "prompt", "null_character"),
        ({"prompt": "x" * (PROMPT_MAX_CHARACTERS + 1)}, "prompt", "too_long"),
        ({"negative_prompt": "x" * 100_000}, "negative_prompt", "too_long"),
        ({"width": 130}, "width", "not_a_multiple"),
        ({"height": 100}, "height", "not_a_multiple"),
        ({"width": 0}, "width", "out_of_range"),
        ({"width": 10_000}, "width", "out_of_range"),
        ({"width": "wide"}, "width", "not_a_number"),
        ({"model": "0" * 64}, "model", "unknown_model"),
        ({"model": "house"}, "model", "unknown_model"),
        ({"sampler": "magic"}, "sampler", "unknown_sampler"),
        ({"num_inference_steps": 0}, "num_inference_steps", "out_of_range"),
        ({"num_inference_steps": 10_000}, "num_inference_steps", "out_of_range"),
        ({"num_inference_steps": 2.5}, "num_inference_steps", "not_a_number"),
        ({"num_images_per_prompt": 17}, "num_images_per_prompt", "out_of_range"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "not_a_number"),
        ({"seed": -1}, "seed", "out_of_range"),
        ({"seed": 2**32}, "seed", "out_of_range"),
        ({"seed": 10**400}, "seed", "not_a_number"),
        ({"image": "0" * 64}, "image", "unknown_image"),
        ({"image": "cat.png"}, "image", "unknown_image"),
        ({"stepz": 4}, "stepz", "unknown_field"),
    ],
)
def test_it_refuses_and_names_the_field(
    bob_in_a: Actor, workspace: Workspace, raw: dict[str, object], field: str, code: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        submit_job(actor=bob_in_a, workspace=workspace, raw={"prompt": PROMPT, **raw})

    assert codes_of(caught.value) == [(field, code)]
    assert caught.value.problems[0].message.endswith((".", ". Shorten it."))
    assert not Job.objects.exists()


def test_it_names_all_wrong_fields_at_once(bob_in_a: Actor, workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError) as caught:
        submit(bob_in_a, workspace, prompt="", width=3, sampler="magic")

    assert {field for field, _code in codes_of(caught.value)} == {"prompt", "width", "sampler"}
    assert caught.value.message == "3 settings need a change."


def test_a_picture_too_large_for_every_agent_is_refused_with_a_size_that_fits(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    factories.make_agent("small", memory_bytes=2 * GIB)

    with pytest.raises(InvalidInputError) as caught:
        submit(bob_in_a, workspace, width=2048, height=2048)

    (problem,) = caught.value.problems
    assert (problem.field, problem.code) == ("width", "does_not_fit")
    side = problem.limit
    assert isinstance(side, int)
    assert f"Try {side} × {side} or smaller" in problem.message
    assert submit(bob_in_a, workspace, width=side, height=side).is_new


def test_nothing_is_too_large_before_an_agent_has_said_what_it_has(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    assert not Agent.objects.exists()
    assert submit(bob_in_a, workspace, width=2048, height=2048).is_new


def test_a_model_without_any_room_is_answered_with_another_model(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    factories.make_agent("tiny", memory_bytes=1024)

    with pytest.raises(InvalidInputError, match=r"input\.invalid") as caught:
        submit(bob_in_a, workspace)
    assert "Choose a smaller model." in caught.value.message


def test_a_viewer_may_not_submit(victor_in_a: Actor, workspace: Workspace) -> None:
    with pytest.raises(ForbiddenError):
        submit(victor_in_a, workspace)


def test_a_starting_picture_of_the_workspace_is_taken_and_of_another_is_not(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    mine = factories.make_input(workspace, factories.make_png("red"))
    with organization_scope(workspace.organization_id):
        other_room = Workspace.objects.create(organization=workspace.organization, name="Second")
    other = factories.make_input(other_room, factories.make_png("blue"))

    given = submit(bob_in_a, workspace, image=mine.sha256).job.inputs.get()
    assert (given.artifact, given.role) == (mine, InputRole.IMAGE)
    with pytest.raises(InvalidInputError):
        submit(bob_in_a, workspace, image=other.sha256)


def test_a_model_of_another_organization_does_not_exist(
    bob_in_a: Actor, workspace: Workspace, workspace_b: Workspace, tmp_path: object
) -> None:
    theirs = factories.make_model_version(
        organization=workspace_b.organization, folder=factories.HOUSE, name="Secret"
    )

    with pytest.raises(InvalidInputError) as caught:
        submit(bob_in_a, workspace, model=theirs.digest)
    assert codes_of(caught.value) == [("model", "unknown_model")]


def test_the_same_key_again_is_the_same_job(bob_in_a: Actor, workspace: Workspace) -> None:
    first = submit(bob_in_a, workspace, key="click-1")
    again = submit(bob_in_a, workspace, key="click-1")
    other = submit(bob_in_a, workspace, key="click-2")

    assert (first.is_new, again.is_new) == (True, False)
    assert first.job.pk == again.job.pk != other.job.pk


def test_a_key_is_its_owners_own(alice_in_a: Actor, bob_in_a: Actor, workspace: Workspace) -> None:
    assert (
        submit(bob_in_a, workspace, key="k").job.pk != submit(alice_in_a, workspace, key="k").job.pk
    )


def test_a_key_opens_no_job_of_another_workspace(bob_in_a: Actor, workspace: Workspace) -> None:
    """Bob, or his token, may be shut out of the first one by now."""
    other = factories.make_workspace(workspace.organization, "Other")
    hidden = submit(bob_in_a, workspace, key="order-1").job
    with pytest.raises(ConflictError) as caught:
        submit(bob_in_a, other, key="order-1")
    assert hidden.pk not in caught.value.message


def test_a_key_that_is_too_long_is_refused(bob_in_a: Actor, workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError) as caught:
        submit(bob_in_a, workspace, key="k" * 256)
    assert codes_of(caught.value) == [("idempotency_key", "too_long")]


def test_the_prompt_lies_in_no_column_of_any_table(bob_in_a: Actor, workspace: Workspace) -> None:
    canary = "ORCHIDCANARY42"
    job = submit(bob_in_a, workspace, prompt=canary, negative_prompt=canary + "NOT").job
    agent = factories.make_agent()
    factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)

    text = all_columns()
    assert job.pk in text
    assert canary not in text
    assert canary.encode().hex() not in text
    assert factories.stored_recipe(job)["prompt"] == canary


@pytest.mark.django_db(transaction=True)
def test_two_threads_with_the_same_key_make_one_job(bob_in_a: Actor, workspace: Workspace) -> None:
    barrier, found = threading.Barrier(2), list[Submitted]()

    def click() -> None:
        try:
            with organization_scope(bob_in_a.organization_id):
                barrier.wait(timeout=10)
                found.append(submit(bob_in_a, workspace, key="double-click"))
        finally:
            connection.close()

    threads = [threading.Thread(target=click) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert sorted(one.is_new for one in found) == [False, True]
    assert len({one.job.pk for one in found}) == 1
    assert Job.objects.filter(submitted_at__lte=timezone.now()).count() == 1
