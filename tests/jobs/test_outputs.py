"""Pictures: to the trash and back, made again and compared, gone for good."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent
from jobs.models import Job, Output
from jobs.services.outputs import (
    Verdict,
    compare_with_original,
    purge_trash,
    rerun_output,
    restore_output,
    trash_output,
)
from library.models import ModelVersion
from studio.core import storage
from studio.core.errors import ForbiddenError, InvalidInputError
from tests import factories
from tests.factories import ENGINE, AgentHandle
from workspaces.models import Artifact

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]


def put_into_trash(output: Output, *, days_ago: int) -> None:
    moment = timezone.now() - timedelta(days=days_ago)
    Output.objects.filter(pk=output.pk).update(trashed_at=moment)


def test_the_trash_takes_and_gives_back_once(output: Output, bob_in_a: Actor) -> None:
    assert trash_output(output=output, actor=bob_in_a)
    assert not trash_output(output=output, actor=bob_in_a)
    assert restore_output(output=output, actor=bob_in_a)
    assert not restore_output(output=output, actor=bob_in_a)

    output.refresh_from_db()
    assert output.trashed_at is None
    events = AuditEvent.objects.filter(object_id=output.pk).order_by("created_at")
    assert [event.action for event in events] == ["output.trashed", "output.restored"]


def test_a_viewer_may_neither_trash_nor_restore(output: Output, victor_in_a: Actor) -> None:
    with pytest.raises(ForbiddenError):
        trash_output(output=output, actor=victor_in_a)
    with pytest.raises(ForbiddenError):
        restore_output(output=output, actor=victor_in_a)


def test_making_it_again_asks_for_just_that_picture(
    bob_in_a: Actor, output: Output, agent: AgentHandle
) -> None:
    # Given: the third picture of a job with every setting changed.
    job = factories.make_job(
        bob_in_a,
        output.workspace,
        prompt="a cat",
        negative_prompt="a dog",
        seed=50,
        num_images_per_prompt=3,
        num_inference_steps=9,
        guidance_scale=3.5,
        sampler="heun",
        width=192,
        height=64,
        clip_skip=1,
    )
    third = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)[2]

    again = rerun_output(output=third, actor=bob_in_a).job

    before, after = factories.stored_recipe(job), factories.stored_recipe(again)
    assert after == {**before, "seed": 52, "num_images_per_prompt": 1}
    assert again.rerun_of_id == third.pk


def test_making_it_again_with_the_same_key_is_one_job(bob_in_a: Actor, output: Output) -> None:
    first = rerun_output(output=output, actor=bob_in_a, idempotency_key="again")
    second = rerun_output(output=output, actor=bob_in_a, idempotency_key="again")
    assert (first.job.pk, first.is_new, second.is_new) == (second.job.pk, True, False)


def test_a_first_picture_has_no_verdict(output: Output) -> None:
    assert compare_with_original(output) is None


@pytest.mark.parametrize(
    ("color", "engine", "verdict", "words"),
    [
        ("teal", ENGINE, Verdict.IDENTICAL, "every byte is the same"),
        ("red", {**ENGINE, "torch": "3.0"}, Verdict.SIMILAR, "other runtime (torch 2.13.0 → 3.0)."),
        (
            *("red", {**ENGINE, "edition": 2}, Verdict.SIMILAR),
            "other runtime (edition of the studio 1 → 2).",
        ),
        ("red", {**ENGINE, "memory": "vae_tiles"}, Verdict.SIMILAR, "memory by none → vae_tiles"),
        ("red", {**ENGINE, "batch": 4}, Verdict.SIMILAR, "alone, this one in a batch of 4."),
        ("red", ENGINE, Verdict.DIFFERENT, "tell an admin"),
        ("teal", {**ENGINE, "torch": "3.0"}, Verdict.IDENTICAL, "every byte is the same"),
    ],
)
def test_the_verdict_on_a_rerun_is_plain(
    output: Output,
    bob_in_a: Actor,
    agent: AgentHandle,
    color: str,
    engine: dict[str, object],
    verdict: Verdict,
    words: str,
) -> None:
    job = rerun_output(output=output, actor=bob_in_a).job
    attempt = factories.make_attempt(job, agent.row)
    (again,) = factories.run_attempt(attempt, agent.row, color=color, engine=engine)

    comparison = compare_with_original(again)

    assert comparison is not None
    assert (comparison.verdict, comparison.original.pk) == (verdict, output.pk)
    assert words in comparison.sentence


def test_of_a_picture_from_a_batch_it_says_so_and_makes_it_alone(
    bob_in_a: Actor, output: Output, agent: AgentHandle
) -> None:
    # Given a picture that was made in a batch of four
    batched = {**ENGINE, "batch": 4}
    output = factories.make_output(bob_in_a, output.workspace, agent.row, engine=batched)
    # When it is made again, by a newer runtime
    job = rerun_output(output=output, actor=bob_in_a).job
    now = {**ENGINE, "batch": 1, "torch": "3.0"}
    attempt = factories.make_attempt(job, agent.row)
    (again,) = factories.run_attempt(attempt, agent.row, color="red", engine=now)
    # Then it is made alone, and both reasons are told
    assert output.job.batch_key
    assert job.batch_key == ""
    comparison = compare_with_original(again)
    assert comparison is not None
    assert comparison.sentence == (
        "Similar: the original was made in a batch of 4, this one alone; "
        "other runtime (torch 2.13.0 → 3.0)."
    )


def test_everything_that_is_gone_is_told_by_its_name_at_once(
    bob_in_a: Actor, output: Output
) -> None:
    # Given a picture whose model has left the library since
    ModelVersion.objects.update(digest="f" * 64)
    with pytest.raises(InvalidInputError) as caught:
        rerun_output(output=output, actor=bob_in_a)
    assert [problem.message for problem in caught.value.problems] == [
        "The model House is no longer in the library. An admin can add it again."
    ]


def test_the_purge_removes_rows_and_bytes_of_what_is_old(
    output: Output,
    settings: LazySettings,
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    keys = [output.picture.storage_key, output.thumbnail.storage_key]
    put_into_trash(output, days_ago=settings.TRASH_DAYS + 1)

    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]  # pytest-django's fixture
        assert purge_trash() == 1

    assert not Output.objects.exists()
    assert not Artifact.objects.exists()
    assert not any(storage.exists(key) for key in keys)
    assert Job.objects.count() == 1


def test_the_purge_leaves_what_is_young_or_not_in_the_trash(
    output: Output, bob_in_a: Actor, agent: AgentHandle, settings: LazySettings
) -> None:
    young = factories.make_output(bob_in_a, output.workspace, agent.row)
    put_into_trash(young, days_ago=settings.TRASH_DAYS - 1)

    assert purge_trash() == 0

    assert Output.objects.count() == 2
    assert storage.exists(young.picture.storage_key)


def test_a_rerun_outlives_its_purged_original(
    output: Output, bob_in_a: Actor, agent: AgentHandle, settings: LazySettings
) -> None:
    job = rerun_output(output=output, actor=bob_in_a).job
    (again,) = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    put_into_trash(output, days_ago=settings.TRASH_DAYS + 1)

    purge_trash()

    again.refresh_from_db()
    assert compare_with_original(again) is None
