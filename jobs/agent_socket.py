"""The agent's socket: progress and previews up; cancel and yield down."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DataError, InterfaceError, OperationalError
from redis.exceptions import RedisError
from typing_extensions import override

from gpuagent.protocol.frames import FrameInvalidError, PreviewFrame
from gpuagent.protocol.messages import (
    AttemptCancel,
    AttemptProgress,
    AttemptStarted,
    AttemptYield,
)
from gpuagent.protocol.wire import MessageInvalidError, from_wire
from jobs.agent_api import agent_from_header
from jobs.models import Agent, JobAttempt
from jobs.progress import put_preview, put_progress
from jobs.room_reads import in_thread
from jobs.services.leasing import OPEN, hasten_leases
from jobs.services.reporting import note_started
from studio.core.scoping import system_scope
from studio.core.stopping import is_stopping
from workspaces.announcements import workspace_group

ATTEMPTS_KEPT = 64
CLOSE_UNAUTHENTICATED = 4401
REDIS_AWAY = (RedisError, OSError)
DATABASE_AWAY = (OperationalError, InterfaceError)
START_PAUSES = (0.5, 1.0, 2.0)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """An attempt this socket may speak of."""

    job_id: str
    workspace_id: str
    fence: int
    seq: int = 0


def _find(agent: Agent, attempt_id: str) -> _Known | None:
    with system_scope():
        row = (
            JobAttempt.objects.filter(pk=attempt_id, agent=agent, status__in=OPEN)
            .values_list("job_id", "job__workspace_id", "fence")
            .first()
        )
    return _Known(*row) if row else None


def _start(agent: Agent, attempt_id: str, fence: int) -> bool:
    with system_scope():
        return note_started(agent, attempt_id, fence)


def _hung_up(agent: Agent) -> None:
    with system_scope():
        hasten_leases(agent)


class AgentConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """`/agent/v1/socket`, opened by an agent with its token."""

    declared_permission = "agent"

    @override
    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without channels' change of threads for every message, of which there are many."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        """Only a known agent gets in."""
        self.known: dict[str, _Known | None] = {}
        headers = dict(self.scope.get("headers", []))
        header = headers.get(b"authorization", b"").decode("latin-1")
        agent = await in_thread(agent_from_header)(header)
        await self.accept()
        if agent is None:
            await self.close(code=CLOSE_UNAUTHENTICATED)
            return
        self.agent: Agent = agent
        await self.channel_layer.group_add(agent.group, self.channel_name)

    async def disconnect(self, code: int) -> None:
        """Leave the group. Most often the process is gone: its work need not wait for its lease."""
        if not hasattr(self, "agent"):
            return
        if not is_stopping.is_set():  # else it is us who hang up
            try:
                await in_thread(_hung_up)(self.agent)
            except DATABASE_AWAY:
                logger.warning("agent %s hung up; its leases run on", self.agent.pk)
        with suppress(*REDIS_AWAY):
            await self.channel_layer.group_discard(self.agent.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A report; what is malformed, stale or about somebody else's attempt is dropped."""
        if not hasattr(self, "agent"):
            return  # refused, and it spoke before it heard so
        try:
            if bytes_data is not None:
                await self._preview(PreviewFrame.decode(bytes_data))
            elif text_data is not None:
                await self._report(json.loads(text_data))
        except (ValueError, RecursionError, MessageInvalidError, FrameInvalidError, DataError):
            logger.warning("agent %s sent a malformed message", self.agent.pk)
        except (*REDIS_AWAY, *DATABASE_AWAY) as error:  # the next report says how things stand
            logger.warning("agent %s is not heard (%s)", self.agent.pk, type(error).__name__)

    async def _report(self, raw: Any) -> None:  # noqa: ANN401  # not yet checked JSON
        kind = raw.get("type") if isinstance(raw, dict) else None
        if kind == AttemptStarted.type:
            await self._started(from_wire(AttemptStarted, raw))
        elif kind == AttemptProgress.type:
            await self._progress(from_wire(AttemptProgress, raw))

    async def _started(self, message: AttemptStarted) -> None:
        """This is said once, so a restart of the database is waited for."""
        start = in_thread(_start)
        for pause in (*START_PAUSES, None):
            try:
                await start(self.agent, message.attempt_id, message.fence)
            except DATABASE_AWAY:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _attempt(self, attempt_id: str) -> _Known | None:
        if attempt_id not in self.known:
            if len(self.known) >= ATTEMPTS_KEPT:
                self.known.pop(next(iter(self.known)))
            self.known[attempt_id] = await in_thread(_find)(self.agent, attempt_id)
        return self.known[attempt_id]

    async def _progress(self, message: AttemptProgress) -> None:
        known = await self._attempt(message.attempt_id)
        if known is None or message.fence != known.fence or message.seq <= known.seq:
            return
        known.seq = message.seq
        values: dict[str, str | int] = {
            "attempt_id": message.attempt_id,
            "index": message.index,
            "count": message.count,
            "step": message.step,
            "steps": message.steps,
        }
        await put_progress(known.job_id, values)
        await self._ring(known)

    async def _preview(self, frame: PreviewFrame) -> None:
        known = await self._attempt(frame.subject_id)
        if known is None:
            return
        await put_preview(
            known.job_id,
            attempt_id=frame.subject_id,
            index=frame.index,
            envelope=frame.payload,
        )
        await self._ring(known)

    async def _ring(self, known: _Known) -> None:
        event = {"type": "job.progress", "job_id": known.job_id}
        await self.channel_layer.group_send(workspace_group(known.workspace_id), event)

    async def attempt_cancel(self, event: dict[str, Any]) -> None:
        """Somebody canceled: tell the agent now."""
        message = AttemptCancel(attempt_id=event["attempt_id"])
        await self.send(text_data=json.dumps(message.to_wire()))

    async def attempt_yield(self, event: dict[str, Any]) -> None:
        """Something more urgent waits: the rest is to come back after the picture in hand."""
        message = AttemptYield(attempt_id=event["attempt_id"])
        await self.send(text_data=json.dumps(message.to_wire()))
