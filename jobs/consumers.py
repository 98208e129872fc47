"""The browser's socket: notify, then fetch. Numbers and ids travel; previews are opened here.

What it says comes from `jobs.broadcast`, which reads once for all pages of a workspace. Here is
who may hear it, and how fast one page can take it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends.base import SessionBase
from django.db import DataError, InterfaceError, OperationalError
from typing_extensions import override

from accounts.actors import Actor
from accounts.policy import check_session
from accounts.roles import Permission
from jobs.broadcast import AWAY, Key, Room, broadcast
from jobs.room_reads import in_thread
from studio.core.errors import SessionExpiredError, StudioError, UnauthenticatedError
from studio.core.scoping import organization_scope
from workspaces.access import actor_within, get_workspace
from workspaces.http import actor_in

RECHECK_SECONDS = 60.0
ASK_AGAIN_SECONDS = 1.0
CLOSE_UNAUTHENTICATED = 4401
CLOSE_NOT_FOUND = 4404
CLOSE_TRY_AGAIN = 1013
MESSAGE_MAX_BYTES = 1_024
logger = logging.getLogger(__name__)


def _allowed_actor(session: SessionBase, user_id: str, workspace_id: str) -> Actor:
    actor = actor_in(user_id, workspace_id)
    with organization_scope(actor.organization_id):
        workspace = get_workspace(actor, workspace_id, permission=Permission.JOB_VIEW)
        check_session(session, user_id, workspace.organization)
        return actor_within(actor, workspace)


class WorkspaceConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """`/ws/w/{workspace_id}/`: one socket per page, for everything that moves on it."""

    declared_permission = Permission.JOB_VIEW
    channel_layer_alias = "none"  # the room listens for all its pages

    @override
    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without channels' change of threads for every message: `in_thread` looks after
        connections to the database.
        """
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        """Check access, subscribe, then send what is true now."""
        self.workspace_id: str = self.scope["url_route"]["kwargs"]["workspace_id"]
        self.sequence = 0
        self.room: Room | None = None
        self.outbox: dict[Key, str | bytes] = {}
        self.sender: asyncio.Task[None] | None = None
        self.is_told = False
        self.checked_at = 0.0
        self.times_invalidated = 0
        await self.accept()
        try:
            if await self._may_stay():
                await self._join()
        except AWAY as error:
            logger.warning("a page is sent away for now (%s)", type(error).__name__)
            await self._send_away(CLOSE_TRY_AGAIN)
        except BaseException:
            await self.disconnect(0)  # nobody else will
            raise

    async def _join(self) -> None:
        organization_id = self.actor.organization_id
        # First the subscription, then the look: what happens between is said twice, not never.
        self.room = await broadcast().join(self, self.workspace_id, organization_id)
        jobs, agents = await self.room.snapshot(), await broadcast().agents(organization_id)
        meanwhile, self.outbox = self.outbox, {}
        self.put_snapshot(jobs)
        self.put(("agents", ""), agents)
        self.room.show_previews(self)
        self.outbox |= meanwhile
        self.is_told = True
        self._send_soon()

    async def disconnect(self, code: int) -> None:
        """Leave the room."""
        if self.sender is not None:
            self.sender.cancel()
        if self.room is not None:
            await broadcast().leave(self, self.room)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Pages say nothing but `ping`, which also renews the check of membership."""
        if bytes_data is not None or text_data is None or len(text_data) > MESSAGE_MAX_BYTES:
            await self.close(code=1009)
            return
        self.put(("pong", ""), '{"type":"pong"}')

    # ---------------------------------------------------------------- what the room says

    def put(self, key: Key, data: str | bytes) -> None:
        """Send this soon; of what a slow page could not take yet, only the latest is kept."""
        self.outbox.pop(key, None)
        self.outbox[key] = data
        self._send_soon()

    def put_snapshot(self, jobs: str) -> None:
        """Send what is true now."""
        self.sequence += 1
        self.put(("snapshot", ""), f'{{"type":"snapshot","seq":{self.sequence},"jobs":{jobs}}}')

    def check_access(self) -> None:
        """Ask at once, not with the next check of membership."""
        self.checked_at = 0.0
        self.times_invalidated += 1
        self._send_soon()

    def _send_soon(self) -> None:
        if self.is_told and (self.sender is None or self.sender.done()):
            self.sender = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        """Send what waits, while the page may hear it."""
        with contextlib.suppress(OSError, RuntimeError):  # it has hung up
            while self.outbox or not self.checked_at:
                if not await self._may_stay():
                    return
                data = self.outbox.pop(next(iter(self.outbox), ("", "")), None)
                if data is None:
                    continue
                if isinstance(data, bytes):
                    await self.send(bytes_data=data)
                else:
                    await self.send(text_data=data)

    async def _may_stay(self) -> bool:
        """Session and membership are checked at the start, then once a minute while it lives."""
        if time.monotonic() - self.checked_at < RECHECK_SECONDS and self.checked_at:
            return True
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            return await self._send_away(CLOSE_UNAUTHENTICATED)
        times = -1
        while times != self.times_invalidated:  # it may change again while we ask
            times = self.times_invalidated
            try:
                self.actor = await self._find_actor(user.pk)
            except (UnauthenticatedError, SessionExpiredError):
                return await self._send_away(CLOSE_UNAUTHENTICATED)
            except (StudioError, DataError):  # DataError: an id with a NUL character
                return await self._send_away(CLOSE_NOT_FOUND)
        self.checked_at = time.monotonic()
        return True

    async def _send_away(self, code: int) -> bool:
        """Close; nothing more is said, not even what waits."""
        self.is_told = False
        self.outbox.clear()
        await self.close(code=code)
        return False

    async def _find_actor(self, user_id: str) -> Actor:
        """Nothing is said while the database cannot be asked."""
        find = in_thread(_allowed_actor)
        while True:
            try:
                return await find(self.scope["session"], user_id, self.workspace_id)
            except (OperationalError, InterfaceError):
                if not self.is_told:
                    raise
            await asyncio.sleep(ASK_AGAIN_SECONDS)
