"""`/agent/v1/socket`: progress and previews up, cancels down."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count

import pytest
from channels.db import database_sync_to_async
from django.db import OperationalError
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts.actors import Actor
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.messages import AttemptProgress, AttemptStarted
from jobs import agent_socket
from jobs.models import Agent, Job, JobAttempt
from jobs.progress import get_preview, get_progress
from jobs.services.cancellation import cancel_job
from jobs.services.leasing import ask_to_yield
from library.models import ModelVersion
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from tests.jobs.sockets import connect, refusal
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]
PATH = "/agent/v1/socket"


@dataclass(frozen=True)
class Scene:
    """A leased attempt and the headers of its agent and of another one."""

    job: Job
    attempt: JobAttempt
    actor: Actor
    mine: list[tuple[bytes, bytes]]
    other: list[tuple[bytes, bytes]]


@pytest.fixture
def scene(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> Scene:
    job = factories.make_job(bob_in_a, workspace)
    other = factories.make_agent("other")
    return Scene(
        job=job,
        attempt=factories.make_attempt(job, agent.row),
        actor=bob_in_a,
        mine=[(b"authorization", agent.header.encode())],
        other=[(b"authorization", other.header.encode())],
    )


def report(scene: Scene, *, seq: int, step: int, fence: int = 1) -> dict[str, object]:
    return AttemptProgress(
        attempt_id=scene.attempt.pk, fence=fence, seq=seq, index=0, count=1, step=step, steps=20
    ).to_wire()


async def step_of(scene: Scene, expected: int | None) -> int | None:
    """The step that is known, once it is the expected one or time is up."""
    step = None
    for _ in range(40):
        progress = await get_progress(scene.job.pk)
        step = progress.step if progress else None
        if step == expected:
            break
        await asyncio.sleep(0.05)
    return step


async def attempt_status(scene: Scene) -> str:
    def read() -> str:
        with system_scope():
            return JobAttempt.objects.values_list("status", flat=True).get(pk=scene.attempt.pk)

    status: str = await database_sync_to_async(read)()
    return status


async def test_progress_is_kept_newest_first(scene: Scene) -> None:
    async with connect(PATH, scene.mine) as socket:
        await socket.send(report(scene, seq=2, step=9))
        assert await step_of(scene, 9) == 9
        await socket.send(report(scene, seq=1, step=3))
        await socket.send(report(scene, seq=2, step=4))
        await socket.send(report(scene, seq=3, step=10))
        assert await step_of(scene, 10) == 10


async def test_progress_with_a_stale_fence_is_dropped(scene: Scene) -> None:
    async with connect(PATH, scene.mine) as socket:
        await socket.send(report(scene, seq=1, step=5, fence=0))
        await asyncio.sleep(0.2)
    assert await get_progress(scene.job.pk) is None


async def test_nobody_reports_on_anothers_attempt(scene: Scene) -> None:
    async with connect(PATH, scene.other) as socket:
        await socket.send(report(scene, seq=1, step=5))
        frame = PreviewFrame(subject_id=scene.attempt.pk, index=0, payload=b"x" * 40)
        await socket.send_bytes(frame.encode())
        await asyncio.sleep(0.2)
    assert await get_progress(scene.job.pk) is None
    assert await get_preview(scene.job.pk) is None


async def test_a_preview_is_kept_as_it_came(scene: Scene) -> None:
    async with connect(PATH, scene.mine) as socket:
        frame = PreviewFrame(subject_id=scene.attempt.pk, index=3, payload=b"sealed" * 10)
        await socket.send_bytes(frame.encode())
        for _ in range(40):
            if (kept := await get_preview(scene.job.pk)) is not None:
                break
            await asyncio.sleep(0.05)
    assert kept is not None
    assert (kept.attempt_id, kept.index, kept.envelope) == (scene.attempt.pk, 3, b"sealed" * 10)


async def test_a_start_is_noted(scene: Scene) -> None:
    async with connect(PATH, scene.mine) as socket:
        started = AttemptStarted(attempt_id=scene.attempt.pk, fence=1, seq=1)
        await socket.send(started.to_wire())
        for _ in range(40):
            if (status := await attempt_status(scene)) == "running":
                break
            await asyncio.sleep(0.05)
    assert status == "running"


async def test_a_cancel_goes_down_at_once(scene: Scene) -> None:
    def cancel() -> None:
        with organization_scope(scene.actor.organization_id):
            cancel_job(job=scene.job, actor=scene.actor)

    async with connect(PATH, scene.mine) as socket:
        await socket.send(report(scene, seq=1, step=1))
        assert await step_of(scene, 1) == 1
        await database_sync_to_async(cancel)()
        message = await socket.receive()

    assert message == {"type": "attempt.cancel", "attempt_id": scene.attempt.pk}


async def test_who_is_to_yield_is_told_at_once(scene: Scene) -> None:
    def ask() -> None:
        with system_scope():
            Job.objects.filter(pk=scene.job.pk).update(count=4)
            assert ask_to_yield({scene.attempt.agent_id}) == 1
            assert ask_to_yield({scene.attempt.agent_id}) == 0  # it was told

    async with connect(PATH, scene.mine) as socket:
        await socket.send(report(scene, seq=1, step=1))
        assert await step_of(scene, 1) == 1
        await database_sync_to_async(ask)()
        message = await socket.receive()

    assert message == {"type": "attempt.yield", "attempt_id": scene.attempt.pk}


@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer sta_wrong", b"Bearer stu_x", b"Basic \xff"]
)
async def test_without_an_agents_token_it_is_closed_with_4401(scene: Scene, header: bytes) -> None:
    assert await refusal(PATH, [(b"authorization", header)]) == 4401


async def test_what_is_malformed_is_dropped_and_the_socket_lives(scene: Scene) -> None:
    async with connect(PATH, scene.mine) as socket:
        malformed: list[object] = [
            [],
            7,
            {"type": "attempt.progress"},
            {"type": "nothing"},
            {**report(scene, seq=1, step=1), "step": "one"},
            {**report(scene, seq=1, step=1), "attempt_id": "a\x00b"},
        ]
        for wrong in malformed:
            await socket.send(wrong)
        await socket.send_bytes(b"\x02" + b"x" * 100)
        await socket.send_bytes(b"\x01\x00" + b"\xff" * 30 + b"x")
        await socket.send(report(scene, seq=1, step=6))
        assert await step_of(scene, 6) == 6


async def test_when_the_socket_breaks_the_lease_is_shortened(scene: Scene) -> None:
    def seconds_left() -> float:
        with system_scope():
            until = JobAttempt.objects.values_list("lease_expires_at", flat=True)
            return (until.get(pk=scene.attempt.pk) - timezone.now()).total_seconds()

    async with connect(PATH, scene.mine) as socket:
        await socket.send(report(scene, seq=1, step=1))
        assert await step_of(scene, 1) == 1
        assert await database_sync_to_async(seconds_left)() > 10

    assert await database_sync_to_async(seconds_left)() < 7.6


async def test_a_start_is_noted_though_the_database_restarts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = agent_socket._start, count(1)

    def away_twice(agent: Agent, attempt_id: str, fence: int) -> bool:
        if next(tries) < 3:
            raise OperationalError("the database system is starting up")
        return real(agent, attempt_id, fence)

    monkeypatch.setattr(agent_socket, "START_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(agent_socket, "_start", away_twice)
    async with connect(PATH, scene.mine) as socket:
        await socket.send(AttemptStarted(attempt_id=scene.attempt.pk, fence=1, seq=1).to_wire())
        await socket.send(report(scene, seq=2, step=3))
        assert await step_of(scene, 3) == 3
        assert await attempt_status(scene) == "running"


async def test_without_redis_a_report_is_dropped_and_the_socket_lives(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_arguments: object) -> None:
        raise RedisConnectionError

    async with connect(PATH, scene.mine) as socket:
        with monkeypatch.context() as broken:
            broken.setattr(agent_socket, "put_progress", away)
            await socket.send(report(scene, seq=1, step=1))
            await asyncio.sleep(0.2)
        await socket.send(report(scene, seq=2, step=2))
        assert await step_of(scene, 2) == 2
