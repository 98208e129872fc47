"""What a process tells the pages of a workspace: read once, however many pages look.

Each workspace that somebody looks at has one `Room` in a process: one subscription of the layer,
one look into Redis for each flush, one opening of each preview. A page hands in a `Listener` and
gets finished messages; what it cannot take at once is kept by key, latest wins.

Rings may be lost (`studio.core.doorbell`). What was told and has been silent since is compared
with Postgres, and when Redis was away everybody gets a new snapshot.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import InterfaceError, OperationalError
from redis.exceptions import RedisError

from jobs.announcements import AGENTS_GROUP
from jobs.lifecycle import JOB_TERMINAL, JobStatus
from jobs.previews import OpenedPreviews
from jobs.progress import Progress, read_progress, redis_run_id
from jobs.room_reads import OpenJob, agents_now, in_thread, open_jobs, states_now
from workspaces.announcements import workspace_group

FLUSH_SECONDS = 0.25
AGENTS_SECONDS = 1.0
SILENT_SECONDS, SILENT_SECONDS_MAX = 5.0, 60.0
AWAY = (RedisError, OSError, OperationalError, InterfaceError)
logger = logging.getLogger(__name__)
Key = tuple[str, str]


class Listener(Protocol):
    """A page's socket."""

    def put(self, key: Key, data: str | bytes) -> None:
        """Send this soon; a later one of the same key takes its place."""

    def put_snapshot(self, jobs: str) -> None:
        """Send what is true now: the jobs as JSON."""

    def check_access(self) -> None:
        """Who may look may be others now."""


@dataclass(slots=True)
class Told:
    """How a job stood when pages were last told, and when to compare that with the truth."""

    status: str
    outputs: int
    look_at: float
    pause: float = SILENT_SECONDS


class Room:
    """The open pages of one workspace in this process."""

    def __init__(self, workspace_id: str, organization_id: str) -> None:
        self.workspace_id = workspace_id
        self.organization_id = organization_id
        self.listeners: set[Listener] = set()
        self.told: dict[str, Told] = {}
        self._dirty: set[str] = set()
        self._previews = OpenedPreviews(workspace_id, organization_id)
        self._flusher: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self.opening: asyncio.Future[None] = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        layer = get_channel_layer()
        self._channel = await layer.new_channel()
        await layer.group_add(workspace_group(self.workspace_id), self._channel)
        self._listening = asyncio.create_task(hear(self._channel, self._hear))

    async def close(self) -> None:
        """Nobody looks any more."""
        self.opening.cancel()
        if self._flusher is not None:
            self._flusher.cancel()
        if self._listening is not None:
            self._listening.cancel()
            group = workspace_group(self.workspace_id)
            await get_channel_layer().group_discard(group, self._channel)

    async def snapshot(self) -> str:
        """The open jobs as they stand, for a page that has joined; what it may miss comes later."""
        jobs = await in_thread(open_jobs)(self.workspace_id, self.organization_id)
        numbers = await read_progress([job.id for job in jobs])
        for job in jobs:
            if job.id not in self.told:
                self._note(job.id, job.status, job.outputs)
                self._dirty.add(job.id)
        if self._dirty:
            self._flush_soon()
        return _dump([_entry(job, numbers.get(job.id)) for job in jobs])

    def show_previews(self, listener: Listener) -> None:
        """The latest previews, for a page that has joined."""
        for job_id, frame in self._previews.frames.items():
            listener.put(("preview", job_id), frame)

    def say(self, key: Key, message: dict[str, object]) -> None:
        """Tell all pages."""
        data = _dump(message)
        for listener in self.listeners:
            listener.put(key, data)

    def say_changed(self, job_id: str, status: str, outputs: int) -> None:
        """Tell all pages how a job stands."""
        self._note(job_id, status, outputs)
        message: dict[str, object] = {
            "type": "changed",
            "id": job_id,
            "status": status,
            "outputs": outputs,
        }
        self.say(("changed", job_id), message)

    def silent_jobs(self, now: float) -> dict[str, Told]:
        """Jobs of which nothing has been heard for a while; longer the next time."""
        silent = {job_id: told for job_id, told in self.told.items() if told.look_at <= now}
        for told in silent.values():
            told.pause = min(told.pause * 2, SILENT_SECONDS_MAX)
            told.look_at = now + told.pause
        return silent

    def compare(self, job_id: str, told: Told, status: str, outputs: int) -> None:
        """Tell the truth about a job if pages were told otherwise, and nothing else since."""
        is_latest = self.told.get(job_id) is told
        if is_latest and (told.status, told.outputs) != (status, outputs):
            self.say_changed(job_id, status, outputs)

    def _note(self, job_id: str, status: str, outputs: int) -> None:
        if status in JOB_TERMINAL:
            self.told.pop(job_id, None)
            self._previews.forget(job_id)
        else:
            self.told[job_id] = Told(status, outputs, time.monotonic() + SILENT_SECONDS)

    def _hear(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "job.changed":
                self.say_changed(event["job_id"], event["status"], event["outputs"])
            case "job.progress":
                self._hear_progress(event["job_id"])
            case "output.gone":
                output_id = event["output_id"]
                self.say(("output", output_id), {"type": "gone", "output_id": output_id})
            case "output.restored":
                output_id = event["output_id"]
                message = {"type": "restored", "output_id": output_id, "id": event["job_id"]}
                self.say(("output", output_id), message)
            case "access.changed":
                for listener in list(self.listeners):
                    listener.check_access()

    # ---------------------------------------------------------------- progress

    def _hear_progress(self, job_id: str) -> None:
        told = self.told.get(job_id)
        if told is None:  # its start was not heard of, or its end came first: time will tell
            self._note(job_id, JobStatus.RUNNING.value, 0)
        else:
            told.pause = SILENT_SECONDS
            told.look_at = time.monotonic() + SILENT_SECONDS
        self._dirty.add(job_id)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_until_clean())

    async def _flush_until_clean(self) -> None:
        """Tell at once, then at most four times a second while anything moves."""
        while self._dirty:
            dirty, self._dirty = self._dirty, set()
            try:
                await self._flush(sorted(dirty))
            except AWAY as error:
                logger.warning("no progress for pages (%s)", type(error).__name__)
            await asyncio.sleep(FLUSH_SECONDS)

    async def _flush(self, job_ids: Sequence[str]) -> None:
        numbers = await read_progress(job_ids)
        for job_id, progress in numbers.items():
            message: dict[str, object] = {
                "type": "progress",
                "id": job_id,
                "step": progress.step,
                "steps": progress.steps,
                "index": progress.index,
                "count": progress.count,
            }
            self.say(("progress", job_id), message)
        async for job_id, frame in self._previews.newer(numbers):
            for listener in self.listeners:
                listener.put(("preview", job_id), frame)


class Broadcast:
    """All rooms of one event loop."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._agents_changed = asyncio.Event()
        self._agents: dict[str, tuple[float, str]] = {}
        self._run_id = ""

    async def join(self, listener: Listener, workspace_id: str, organization_id: str) -> Room:
        """From now on the listener is told what happens there."""
        room = self._rooms.get(workspace_id)
        if room is None:
            room = self._rooms[workspace_id] = Room(workspace_id, organization_id)
        room.listeners.add(listener)
        if not self._tasks:
            looks = (self._hear_of_agents, self._tell_of_agents, self._compare)
            self._tasks = [asyncio.create_task(look()) for look in looks]
        try:
            await asyncio.shield(room.opening)
        except BaseException:
            await self.leave(listener, room)
            raise
        return room

    async def leave(self, listener: Listener, room: Room) -> None:
        """The page is gone; the last one closes the room."""
        room.listeners.discard(listener)
        if room.listeners or self._rooms.get(room.workspace_id) is not room:
            return
        del self._rooms[room.workspace_id]
        if not self._rooms:
            for task in self._tasks:
                task.cancel()
            self._tasks, self._agents, self._run_id = [], {}, ""
        try:
            await room.close()
        except AWAY:
            logger.warning("a room was left while Redis was away")

    async def agents(self, organization_id: str) -> str:
        """The message about agents for the pages of an organization, a moment old at most."""
        read_at, data = self._agents.get(organization_id, (0.0, ""))
        if time.monotonic() - read_at > AGENTS_SECONDS:
            data = _dump(await in_thread(agents_now)(organization_id))
            self._agents[organization_id] = (time.monotonic(), data)
        return data

    async def _hear_of_agents(self) -> None:
        """The fleet changes for all rooms at once."""
        layer = get_channel_layer()
        while True:
            channel = ""
            try:
                channel = await layer.new_channel()
                await layer.group_add(AGENTS_GROUP, channel)
                await hear(channel, lambda _event: self._agents_changed.set())
            except AWAY:
                await asyncio.sleep(AGENTS_SECONDS)
            finally:
                with suppress(*AWAY):
                    await layer.group_discard(AGENTS_GROUP, channel)

    async def _tell_of_agents(self) -> None:
        """Once a second at most, and one look for each organization."""
        while True:
            await self._agents_changed.wait()
            self._agents_changed.clear()
            self._agents = {}
            for room in list(self._rooms.values()):
                try:
                    data = await self.agents(room.organization_id)
                except AWAY:
                    self._agents_changed.set()
                    break
                for listener in room.listeners:
                    listener.put(("agents", ""), data)
            await asyncio.sleep(AGENTS_SECONDS)

    async def _compare(self) -> None:
        """Now and then, find what rings did not say."""
        while True:
            await asyncio.sleep(SILENT_SECONDS / 2)
            try:
                await self._catch_up_with_redis()
                await self._look_at_silent_jobs()
            except AWAY as error:
                logger.warning("pages are not compared now (%s)", type(error).__name__)

    async def _catch_up_with_redis(self) -> None:
        """Another process of Redis than last time: rings were lost, so everything is told anew."""
        run_id = await redis_run_id()
        if self._run_id not in ("", run_id):
            self._agents_changed.set()
            for room in list(self._rooms.values()):
                jobs = await room.snapshot()
                for listener in room.listeners:
                    listener.put_snapshot(jobs)
        self._run_id = run_id

    async def _look_at_silent_jobs(self) -> None:
        now = time.monotonic()
        silent = {
            job_id: (room, told)
            for room in self._rooms.values()
            for job_id, told in room.silent_jobs(now).items()
        }
        for job_id, status, outputs in await in_thread(states_now)(list(silent)):
            room, told = silent[job_id]
            room.compare(job_id, told, status, outputs)


_broadcasts: WeakKeyDictionary[asyncio.AbstractEventLoop, Broadcast] = WeakKeyDictionary()


def broadcast() -> Broadcast:
    """The one of this event loop."""
    loop = asyncio.get_running_loop()
    found = _broadcasts.get(loop)
    if found is None:
        found = _broadcasts[loop] = Broadcast()
    return found


def count_pages() -> int:
    """How many pages this process talks to."""
    rooms = (room for each in list(_broadcasts.values()) for room in list(each._rooms.values()))
    return sum(len(room.listeners) for room in rooms)


async def hear(channel: str, handle: Callable[[dict[str, Any]], object]) -> None:
    """Handle what arrives on a channel of the layer, until canceled."""
    layer = get_channel_layer()
    receive: Callable[[str], Awaitable[dict[str, Any]]] = layer.receive
    while True:
        event = await receive(channel)
        try:
            handle(event)
        except Exception as error:  # one odd event must not silence a room
            logger.error("an event was not understood (%s)", type(error).__name__)


def _entry(job: OpenJob, progress: Progress | None) -> dict[str, object]:
    return {
        "id": job.id,
        "status": job.status,
        "step": progress.step if progress else 0,
        "steps": progress.steps if progress else 0,
        "index": progress.index if progress else 0,
        "count": job.count,
    }


def _dump(message: object) -> str:
    return json.dumps(message, separators=(",", ":"))
