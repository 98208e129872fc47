"""`/ws/w/{workspace}/`: what a page hears while pictures are being made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from accounts.actors import Actor
from accounts.models import Membership, User
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.sealing import Context, seal
from jobs import broadcast, consumers
from jobs.models import Job, JobAttempt, Output
from jobs.progress import Progress, put_preview, put_progress, read_progress
from jobs.services.cancellation import cancel_job
from jobs.services.outputs import restore_output, trash_output
from library.models import ModelVersion
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from tests.jobs.sockets import HOST, ORIGIN, Socket, connect, refusal, session_cookie
from workspaces.announcements import workspace_group
from workspaces.models import Workspace
from workspaces.services.keys import data_key

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


@dataclass(frozen=True)
class Scene:
    """Bob's job runs on an agent; the headers of three browsers and of none."""

    job: Job
    attempt: JobAttempt
    agent: AgentHandle
    actor: Actor
    path: str
    bob: list[tuple[bytes, bytes]]
    bill: list[tuple[bytes, bytes]]
    charlie: list[tuple[bytes, bytes]]


@pytest.fixture
def scene(
    bob: User,
    bill: User,
    charlie: User,
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    agent: AgentHandle,
) -> Scene:
    job = factories.make_job(bob_in_a, workspace, num_images_per_prompt=2)
    return Scene(
        job=job,
        attempt=factories.make_attempt(job, agent.row),
        agent=agent,
        actor=bob_in_a,
        path=f"/ws/w/{workspace.pk}/",
        bob=[ORIGIN, (b"cookie", session_cookie(bob))],
        bill=[ORIGIN, (b"cookie", session_cookie(bill))],
        charlie=[ORIGIN, (b"cookie", session_cookie(charlie))],
    )


async def progress(scene: Scene, step: int) -> None:
    """What the agent's socket does with a report."""
    numbers: dict[str, str | int] = {"attempt_id": scene.attempt.pk, "step": step, "steps": 20}
    numbers.update(index=0, count=2)
    await put_progress(scene.job.pk, numbers)
    await ring(scene)


async def ring(scene: Scene) -> None:
    group = workspace_group(scene.job.workspace_id)
    event = {"type": "job.progress", "job_id": scene.job.pk}
    await get_channel_layer().group_send(group, event)


async def test_a_page_is_told_first_what_is_true_now(scene: Scene) -> None:
    await put_progress(
        scene.job.pk, {"attempt_id": "a", "index": 1, "count": 2, "step": 3, "steps": 20}
    )
    async with connect(scene.path, scene.bob) as socket:
        snapshot = await socket.receive_type("snapshot")
        agents = await socket.receive_type("agents")

    assert snapshot["seq"] == 1
    assert snapshot["jobs"] == [
        {
            "id": scene.job.pk,
            "status": "running",
            "step": 3,
            "steps": 20,
            "index": 1,
            "count": 2,
        }
    ]
    assert (agents["connected"], agents["warm"]) == (1, 1)


async def test_progress_is_passed_on_latest_first(scene: Scene) -> None:
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        for step in range(1, 21):
            await progress(scene, step)
        steps: list[int] = []
        while not steps or steps[-1] < 20:
            steps.append((await socket.receive_type("progress"))["step"])

    assert steps == sorted(steps)
    assert len(steps) < 20, "every step was sent; the newest would have been enough"


def sealed_preview(scene: Scene) -> bytes:
    """What the agent of the scene's attempt would send."""
    key = data_key(scene.job.workspace, scene.attempt.wrapped_preview_key)
    context = Context(
        organization=scene.job.organization_id, object_id=scene.attempt.pk, kind="preview"
    )
    return seal(b"a small picture", key=key, context=context)


async def test_a_sealed_preview_arrives_as_an_opened_frame(scene: Scene) -> None:
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        envelope = await database_sync_to_async(sealed_preview)(scene)
        await put_preview(scene.job.pk, attempt_id=scene.attempt.pk, index=1, envelope=envelope)
        await progress(scene, 4)
        frame = PreviewFrame.decode(await socket.receive_bytes())

    assert (frame.subject_id, frame.index) == (scene.job.pk, 1)
    assert frame.payload == b"a small picture"


async def test_the_first_preview_does_not_wait_for_the_next_round(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "FLUSH_SECONDS", 60.0)

    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        envelope = await database_sync_to_async(sealed_preview)(scene)
        await progress(scene, 1)
        assert (await socket.receive_type("progress"))["step"] == 1
        await put_preview(scene.job.pk, attempt_id=scene.attempt.pk, index=0, envelope=envelope)
        await progress(scene, 2)
        frame = PreviewFrame.decode(await socket.receive_bytes())

    assert frame.payload == b"a small picture"


async def test_a_preview_that_does_not_open_is_dropped(scene: Scene) -> None:
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        await put_preview(
            scene.job.pk, attempt_id=scene.attempt.pk, index=0, envelope=b"forged" * 10
        )
        await progress(scene, 4)
        assert (await socket.receive_type("progress"))["step"] == 4
        assert await socket.is_silent()


async def test_changes_of_a_job_carry_ids_and_states_only(scene: Scene) -> None:
    def end() -> None:
        factories.run_attempt(scene.attempt, scene.agent.row)

    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        await database_sync_to_async(end)()
        changes = [await socket.receive_type("changed")]
        while changes[-1]["status"] != "succeeded":
            changes.append(await socket.receive_type("changed"))

    assert {frozenset(change) for change in changes} == {
        frozenset({"type", "id", "status", "outputs"})
    }
    assert (changes[-1]["id"], changes[-1]["outputs"]) == (scene.job.pk, 2)


async def test_canceling_is_heard(scene: Scene) -> None:
    def cancel() -> None:
        with organization_scope(scene.actor.organization_id):
            cancel_job(job=scene.job, actor=scene.actor)

    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        await database_sync_to_async(cancel)()
        assert (await socket.receive_type("changed"))["id"] == scene.job.pk


async def test_the_trash_is_heard(scene: Scene) -> None:
    """One after the other: of two that come at once only the later need be told."""

    def throw_away() -> Output:
        output = factories.run_attempt(scene.attempt, scene.agent.row)[0]
        with organization_scope(scene.actor.organization_id):
            trash_output(output=output, actor=scene.actor)
        return output

    def take_back(output: Output) -> None:
        with organization_scope(scene.actor.organization_id):
            restore_output(output=output, actor=scene.actor)

    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        output = await database_sync_to_async(throw_away)()
        assert (await socket.receive_type("gone"))["output_id"] == output.pk
        await database_sync_to_async(take_back)(output)
        assert (await socket.receive_type("restored"))["output_id"] == output.pk


async def test_a_ping_is_answered(scene: Scene) -> None:
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        await socket.send({"type": "ping"})
        assert await socket.receive_type("pong")


async def test_nobody_may_say_much(scene: Scene) -> None:
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        await socket.send({"type": "ping", "more": "x" * 2_000})
        while isinstance(answer := await socket.receive(), dict):
            pass
        assert answer == 1009


async def test_an_anonymous_page_is_closed_with_4401(scene: Scene) -> None:
    assert await refusal(scene.path, [ORIGIN]) == 4401


async def test_a_foreign_workspace_and_none_are_closed_with_4404(scene: Scene) -> None:
    assert await refusal(scene.path, scene.charlie) == 4404
    assert await refusal("/ws/w/wsp_none/", scene.bob) == 4404
    assert await refusal("/ws/w/%00/", scene.bob) == 4404


async def test_a_role_that_sees_no_jobs_is_closed_with_4404(scene: Scene) -> None:
    assert await refusal(scene.path, scene.bill) == 4404


async def test_a_page_of_another_site_is_refused(scene: Scene) -> None:
    headers = [HOST, (b"origin", b"https://evil.example"), scene.bob[1]]
    assert await Socket(scene.path, headers).open()


async def test_somebody_who_left_the_organization_hears_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.0)
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        leave = database_sync_to_async(lambda: Membership.objects.all().delete())
        await leave()
        event = {"type": "output.gone", "output_id": "out_x"}
        await get_channel_layer().group_send(workspace_group(scene.job.workspace_id), event)
        while isinstance(answer := await socket.receive(), dict):
            assert answer["type"] != "gone"
        assert answer == 4404


async def test_what_a_lost_ring_did_not_say_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_without_a_word() -> None:
        with system_scope():
            Job.objects.filter(pk=scene.job.pk).update(status="failed")

    monkeypatch.setattr(broadcast, "SILENT_SECONDS", 0.4)
    async with connect(scene.path, scene.bob) as socket:
        await socket.receive_type("agents")
        await database_sync_to_async(end_without_a_word)()
        assert (await socket.receive_type("changed"))["status"] == "failed"


async def test_after_an_outage_of_redis_everything_is_told_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ["first"]

    async def run_id() -> str:
        return runs[-1]

    monkeypatch.setattr(broadcast, "SILENT_SECONDS", 0.4)
    monkeypatch.setattr(broadcast, "redis_run_id", run_id)
    async with connect(scene.path, scene.bob) as socket:
        assert (await socket.receive_type("snapshot"))["seq"] == 1
        await asyncio.sleep(0.5)  # it has looked once
        runs.append("second")
        again = await socket.receive_type("snapshot")
    assert again["seq"] == 2
    assert [job["id"] for job in again["jobs"]] == [scene.job.pk]


async def test_pages_of_a_workspace_are_served_by_one_subscription_and_one_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    async def counted(job_ids: Sequence[str]) -> dict[str, Progress]:
        looks.append(len(job_ids))
        return await read_progress(job_ids)

    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(scene.path, scene.bob)) for _ in range(5)
        ]
        for socket in sockets:
            await socket.receive_type("agents")
        await asyncio.sleep(0.5)
        monkeypatch.setattr(broadcast, "read_progress", counted)
        await progress(scene, 7)
        steps = [(await socket.receive_type("progress"))["step"] for socket in sockets]
        room = broadcast.broadcast()._rooms[scene.job.workspace_id]
        assert len(room.listeners) == 5
    assert steps == [7] * 5
    assert looks == [1]
    assert not broadcast.broadcast()._rooms, "the last page closes the room"


async def test_a_page_that_comes_later_sees_the_latest_preview(scene: Scene) -> None:
    async with connect(scene.path, scene.bob) as first:
        envelope = await database_sync_to_async(sealed_preview)(scene)
        await put_preview(scene.job.pk, attempt_id=scene.attempt.pk, index=1, envelope=envelope)
        await progress(scene, 4)
        await first.receive_bytes()
        async with connect(scene.path, scene.bob) as second:
            frame = PreviewFrame.decode(await second.receive_bytes())
    assert frame.payload == b"a small picture"


async def test_a_slow_page_gets_the_latest_and_keeps_nobody_waiting() -> None:
    consumer = consumers.WorkspaceConsumer()
    consumer.outbox, consumer.sender, consumer.is_told = {}, None, False
    for step in range(1_000):
        consumer.put(("progress", "job_1"), str(step))
        consumer.put(("changed", f"job_{step % 3}"), str(step))
    assert list(consumer.outbox.values()) == ["997", "998", "999", "999"]
