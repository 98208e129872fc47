"""Rooms full of open pages, and agents that only say what agents say. Needs Django set up.

The agents are simulated: nothing is computed. What they say goes the real ways (register,
heartbeat, queue, claim, socket, commit) at the pace of the real reporter.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
from django.test import Client
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from accounts.models import Membership, Organization, User
from accounts.roles import Role
from accounts.selectors import find_actor
from benchmarks._report import say
from gpuagent.protocol import sealing
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.messages import (
    Assignment,
    AttemptProgress,
    AttemptStarted,
    Claim,
    Heartbeat,
    HeldAttempt,
    Register,
)
from gpuagent.protocol.wire import from_wire
from gpuagent.runner.held import Held
from gpuagent.runner.link import Link
from gpuagent.runner.progress import PreviewOrder, PreviewThread, ProgressReporter
from jobs.services.fleet import create_agent
from jobs.services.submission import submit_job
from studio.core.scoping import organization_scope, system_scope
from workspaces.models import Workspace

STEPS, PICTURES, STEPS_PER_S = 150, 16, 12.0
PREVIEW_BYTES = 6_000
HEARTBEAT_S = 5.0
PING_S = 25.0
ROOMS_OF_ONE = 10
Mark = tuple[str, int, int]  # job, picture, step


@dataclass(frozen=True, slots=True)
class Room:
    """A workspace and the cookie of somebody who may look at it."""

    organization: str
    user: str
    workspace: str
    cookie: str


def make_rooms(count: int) -> list[Room]:
    """Workspaces, ten to an organization, each organization with one person."""
    rooms: list[Room] = []
    with system_scope():
        for number in range(0, count, ROOMS_OF_ONE):
            user = User.objects.create_user(f"crowd{number}@example.org", os.urandom(12).hex())
            organization = Organization.objects.create(name=f"Crowd {number}")
            Membership.objects.create(user=user, organization=organization, role=Role.OWNER.value)
            client = Client()
            client.force_login(user)
            cookie = f"sessionid={client.cookies['sessionid'].value}"
            for k in range(min(ROOMS_OF_ONE, count - number)):
                workspace = Workspace.objects.create(organization=organization, name=f"Room {k}")
                rooms.append(Room(organization.pk, user.pk, workspace.pk, cookie))
    return rooms


def submit(room: Room) -> str:
    """A job that lasts longer than the benchmark looks."""
    with system_scope():
        actor = find_actor(room.user, room.organization)
    assert actor is not None
    raw = {
        "prompt": "a red mug",
        "width": 128,
        "height": 128,
        "num_inference_steps": STEPS,
        "num_images_per_prompt": PICTURES,
    }
    with organization_scope(room.organization):
        workspace = Workspace.objects.get(pk=room.workspace)
        return submit_job(actor=actor, workspace=workspace, raw=raw).job.pk


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one simulated agent."""

    agent_id: str
    token: str


def make_agents(count: int) -> list[Credentials]:
    """Rows and tokens; they live once they register."""
    with system_scope():
        made = [create_agent(f"simulated-{n}", is_local=True) for n in range(count)]
    return [Credentials(agent.pk, token) for agent, token in made]


@dataclass
class Heard:
    """What all pages together were told, and how late."""

    sent: dict[Mark, float] = field(default_factory=dict)
    previews_sent: dict[bytes, float] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    preview_lags: list[float] = field(default_factory=list)
    messages: int = 0
    said: int = 0
    closed: int = 0
    is_measuring: bool = False

    def take(self, data: str | bytes) -> None:
        now = time.monotonic()
        if not self.is_measuring:
            return
        self.messages += 1
        if isinstance(data, bytes):
            sent_at = self.previews_sent.get(PreviewFrame.decode(data).payload[:8])
            if sent_at is not None:
                self.preview_lags.append(now - sent_at)
            return
        message = json.loads(data)
        if message["type"] == "progress":
            sent_at = self.sent.get((message["id"], message["index"], message["step"]))
            if sent_at is not None:
                self.lags.append(now - sent_at)


class Pages:
    """Open sockets, each read by a task of its own."""

    def __init__(self, url: str, heard: Heard) -> None:
        self._url = url
        self._heard = heard
        self._sockets: list[ClientConnection] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, rooms: Sequence[Room]) -> float:
        """One more socket for each of these; seconds until all have their snapshot."""
        began, gate = time.monotonic(), asyncio.Semaphore(32)
        await asyncio.gather(*(self._open(room, gate) for room in rooms))
        return time.monotonic() - began

    async def _open(self, room: Room, gate: asyncio.Semaphore) -> None:
        async with gate:
            socket = await connect(
                f"{self._url.replace('http', 'ws', 1)}/ws/w/{room.workspace}/",
                additional_headers={"Cookie": room.cookie},
                origin=Origin(self._url),
                compression=None,
                proxy=None,
                open_timeout=60,
                ping_interval=None,
            )
            while '"agents"' not in str(await asyncio.wait_for(socket.recv(), 60)):
                pass
        self._sockets.append(socket)
        self._tasks.append(asyncio.create_task(self._read(socket)))

    def begin_to_ping(self) -> None:
        """Each says its `ping` as often as pages do, one after the other."""
        self._tasks.append(asyncio.create_task(self._ping()))

    async def _ping(self) -> None:
        while True:
            for socket in self._sockets:
                await asyncio.sleep(PING_S / len(self._sockets))
                with suppress(ConnectionClosed):
                    await socket.send('{"type":"ping"}')

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                self._heard.take(data)
        except ConnectionClosed:
            pass
        self._heard.closed += 1

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Agents:
    """Simulated agents: one HTTP client, one reader of all queues, a socket each."""

    def __init__(
        self, url: str, redis_url: str, heard: Heard, agents: Sequence[Credentials]
    ) -> None:
        self._url = url
        self._heard = heard
        self._agents = {f"agent:{agent.agent_id}:gpu": agent for agent in agents}
        self._held: dict[str, list[HeldAttempt]] = {agent.agent_id: [] for agent in agents}
        self._redis = Redis.from_url(redis_url)
        limits = httpx.Limits(max_connections=16)
        self._http = httpx.AsyncClient(timeout=120, limits=limits, trust_env=False)
        self._sockets: dict[str, ClientConnection] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.at_work = 0

    async def start(self) -> None:
        """Register all, open their sockets, begin to live."""
        await asyncio.gather(*(self._arrive(agent) for agent in self._agents.values()))
        self._tasks += [asyncio.create_task(self._live(a)) for a in self._agents.values()]
        self._tasks.append(asyncio.create_task(self._take()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self._sockets.values():
            await socket.close()
        await self._http.aclose()
        await self._redis.aclose()

    async def _post(self, agent: Credentials, path: str, message: Any) -> Any:  # noqa: ANN401  # JSON
        answer = await self._http.post(
            f"{self._url}/agent/v1/{path}",
            json=message.to_wire(),
            headers={"Authorization": f"Bearer {agent.token}"},
        )
        return answer.raise_for_status().json()

    async def _arrive(self, agent: Credentials) -> None:
        register = Register(boot_id="b", fingerprint={}, device="none", memory_bytes=64 << 30)
        await self._post(agent, "register", register)
        self._sockets[agent.agent_id] = await connect(
            f"{self._url.replace('http', 'ws', 1)}/agent/v1/socket",
            additional_headers={"Authorization": f"Bearer {agent.token}"},
            compression=None,
            proxy=None,
            open_timeout=120,
            ping_interval=None,
        )

    async def _live(self, agent: Credentials) -> None:
        while True:
            beat = Heartbeat(
                boot_id="b", ready=True, warm=(), attempts=tuple(self._held[agent.agent_id])
            )
            await self._post(agent, "heartbeat", beat)
            await asyncio.sleep(HEARTBEAT_S)

    async def _take(self) -> None:
        """Messages of all agents' queues, as dramatiq has put them there."""
        while True:
            found = await self._redis.blpop(list(self._agents), timeout=1)
            if found is None:
                continue
            key, message_id = cast(bytes, found[0]).decode(), found[1]
            body = await self._redis.hget(f"{key}.msgs", message_id)
            attempt_id, fence = json.loads(cast(bytes, body))["args"]
            work = self._work(self._agents[key], attempt_id, fence)
            self._tasks.append(asyncio.create_task(work))
            self._tasks[-1].add_done_callback(_say_trouble)

    async def _work(self, agent: Credentials, attempt_id: str, fence: int) -> None:
        claim = await self._post(
            agent, f"attempts/{attempt_id}/claim", Claim(fence=fence, boot_id="b")
        )
        assignment = from_wire(Assignment, claim)
        self._held[agent.agent_id].append(HeldAttempt(attempt_id=attempt_id, fence=fence))
        self.at_work += 1
        voice = _Voice(self._sockets[agent.agent_id], assignment, self._heard)
        held = Held(attempt_id, fence)
        reporter = ProgressReporter(assignment, held, cast(Link, voice), cast(PreviewThread, voice))
        reporter.started()
        await voice.flush()
        began = time.monotonic()
        for taken in range(STEPS * PICTURES):
            await asyncio.sleep(max(0.0, began + taken / STEPS_PER_S - time.monotonic()))
            index, step = divmod(taken, STEPS)
            reporter.step(
                index, PICTURES, step + 1, STEPS, lambda: cast(Any, None), cast(Any, None)
            )
            await voice.flush()


def _say_trouble(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        say(f"a simulated agent broke: {error!r}")


class _Voice:
    """What the reporter says goes out over the agent's socket; a preview is some sealed bytes."""

    def __init__(self, socket: ClientConnection, assignment: Assignment, heard: Heard) -> None:
        self._socket = socket
        self._job_id = assignment.job_id
        self._key = b64decode(assignment.preview_key)
        self._heard = heard
        self._waiting: list[str | bytes] = []

    def send(self, message: AttemptStarted | AttemptProgress) -> None:
        if isinstance(message, AttemptProgress):
            mark = (self._job_id, message.index, message.step)
            self._heard.sent[mark] = time.monotonic()
        self._waiting.append(json.dumps(message.to_wire()))

    def offer(self, order: PreviewOrder) -> None:
        mark = os.urandom(8)
        context = sealing.Context(
            organization=order.organization, object_id=order.attempt_id, kind="preview"
        )
        payload = sealing.seal(mark + bytes(PREVIEW_BYTES), key=self._key, context=context)
        frame = PreviewFrame(subject_id=order.attempt_id, index=order.index, payload=payload)
        self._heard.previews_sent[mark] = time.monotonic()
        self._waiting.append(frame.encode())

    async def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._heard.said += int(self._heard.is_measuring)
            await self._socket.send(data)
