"""The browser's socket: notify, then fetch. Numbers and ids travel; previews are opened here.

Django's ORM is reached through `database_sync_to_async` only, each time in the workspace's scope.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.backends.base import SessionBase
from django.db import DataError

from accounts.actors import Actor
from accounts.policy import check_session
from accounts.roles import Permission
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.sealing import Context, SealBrokenError, open_sealed
from jobs.announcements import AGENTS_GROUP
from jobs.lifecycle import JOB_OPEN
from jobs.models import Job, JobAttempt
from jobs.progress import get_preview, get_progress
from jobs.selectors import count_agents, visible_warm_digests
from studio.core.errors import SessionExpiredError, StudioError, UnauthenticatedError
from studio.core.scoping import organization_scope
from workspaces.access import actor_within, get_workspace
from workspaces.announcements import workspace_group
from workspaces.http import actor_in
from workspaces.services.keys import data_key

FLUSH_SECONDS = 0.25
RECHECK_SECONDS = 60.0
CLOSE_UNAUTHENTICATED = 4401
CLOSE_NOT_FOUND = 4404
MESSAGE_MAX_BYTES = 1_024
PREVIEW_KEYS_KEPT = 64
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

    async def connect(self) -> None:
        """Check access, subscribe, then send what is true now."""
        self.workspace_id: str = self.scope["url_route"]["kwargs"]["workspace_id"]
        self.sequence = 0
        self.dirty: set[str] = set()
        self.previews_sent: dict[str, tuple[str, int]] = {}
        self.preview_keys: dict[str, bytes | None] = {}
        self.flusher: asyncio.Task[None] | None = None
        self.groups_joined: list[str] = []
        self.checked_at = 0.0
        await self.accept()
        if not await self._may_stay():
            return
        for group in (workspace_group(self.workspace_id), AGENTS_GROUP):
            await self.channel_layer.group_add(group, self.channel_name)
            self.groups_joined.append(group)
        await self._send_snapshot()
        await self.agents_changed({})

    async def disconnect(self, code: int) -> None:
        """Leave the groups."""
        if self.flusher is not None:
            self.flusher.cancel()
        for group in self.groups_joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Pages say nothing but `ping`, which also renews the check of membership."""
        if bytes_data is not None or text_data is None or len(text_data) > MESSAGE_MAX_BYTES:
            await self.close(code=1009)
            return
        if await self._may_stay():
            await self._send({"type": "pong"})

    async def _may_stay(self) -> bool:
        """Session and membership are checked at the start, then once a minute while it lives."""
        if time.monotonic() - self.checked_at < RECHECK_SECONDS and self.checked_at:
            return True
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            await self.close(code=CLOSE_UNAUTHENTICATED)
            return False
        find = database_sync_to_async(_allowed_actor)
        try:
            self.actor = await find(self.scope["session"], user.pk, self.workspace_id)
        except (UnauthenticatedError, SessionExpiredError):
            await self.close(code=CLOSE_UNAUTHENTICATED)
            return False
        except (StudioError, DataError):  # DataError: an id with a NUL character
            await self.close(code=CLOSE_NOT_FOUND)
            return False
        self.checked_at = time.monotonic()
        return True

    async def _send(self, message: dict[str, object]) -> None:
        await self.send(text_data=json.dumps(message, separators=(",", ":")))

    async def _send_snapshot(self) -> None:
        self.sequence += 1
        jobs = []
        for job_id, status, count in await database_sync_to_async(self._open_jobs)():
            progress = await get_progress(job_id)
            jobs.append(
                {
                    "id": job_id,
                    "status": status,
                    "step": progress.step if progress else 0,
                    "steps": progress.steps if progress else 0,
                    "index": progress.index if progress else 0,
                    "count": count,
                }
            )
            self.dirty.add(job_id)
        await self._send({"type": "snapshot", "seq": self.sequence, "jobs": jobs})
        self._flush_soon()

    def _open_jobs(self) -> list[tuple[str, str, int]]:
        with organization_scope(self.actor.organization_id):
            jobs = Job.objects.filter(
                workspace_id=self.workspace_id, status__in=[s.value for s in JOB_OPEN]
            )
            return list(jobs.order_by("id").values_list("pk", "status", "count")[:500])

    # ---------------------------------------------------------------- events of the layer

    async def job_changed(self, event: dict[str, Any]) -> None:
        """A job is in another state or has another picture: the page fetches its tiles."""
        if not await self._may_stay():
            return
        message = {
            "type": "changed",
            "id": event["job_id"],
            "status": event["status"],
            "outputs": event["outputs"],
        }
        await self._send(message)

    async def job_progress(self, event: dict[str, Any]) -> None:
        """Numbers or a preview moved; sent with the next flush."""
        self.dirty.add(event["job_id"])
        self._flush_soon()

    async def output_gone(self, event: dict[str, Any]) -> None:
        """A picture went to the trash."""
        if not await self._may_stay():
            return
        await self._send({"type": "gone", "output_id": event["output_id"]})

    async def output_restored(self, event: dict[str, Any]) -> None:
        """A picture came back."""
        if not await self._may_stay():
            return
        message = {"type": "restored", "output_id": event["output_id"], "id": event["job_id"]}
        await self._send(message)

    async def access_changed(self, event: dict[str, Any]) -> None:
        """Who may look may be others now: ask at once, not with the next check of membership."""
        self.checked_at = 0.0
        await self._may_stay()

    async def agents_changed(self, event: dict[str, Any]) -> None:
        """How many agents are there and warm, and which models they hold."""
        if not await self._may_stay():
            return
        connected, warm = await database_sync_to_async(count_agents)()
        digests = await database_sync_to_async(self._visible_digests)()
        message = {"type": "agents", "connected": connected, "warm": warm, "digests": digests}
        await self._send(message)

    def _visible_digests(self) -> list[str]:
        """Warm models of the organization's library; those of others are not its business."""
        with organization_scope(self.actor.organization_id):
            return sorted(visible_warm_digests())

    # ---------------------------------------------------------------- progress

    def _flush_soon(self) -> None:
        if self.flusher is None or self.flusher.done():
            self.flusher = asyncio.create_task(self._flush_until_clean())

    async def _flush_until_clean(self) -> None:
        """Send at once, then at most four times a second while anything moves."""
        while self.dirty:
            if not await self._may_stay():
                return
            dirty, self.dirty = self.dirty, set()
            for job_id in dirty:
                await self._send_progress(job_id)
            await asyncio.sleep(FLUSH_SECONDS)

    async def _send_progress(self, job_id: str) -> None:
        progress = await get_progress(job_id)
        if progress is None:
            return
        await self._send(
            {
                "type": "progress",
                "id": job_id,
                "step": progress.step,
                "steps": progress.steps,
                "index": progress.index,
                "count": progress.count,
            }
        )
        mark = (progress.attempt_id, progress.preview)
        if progress.preview and self.previews_sent.get(job_id) != mark:
            self.previews_sent[job_id] = mark
            await self._send_preview(job_id)

    async def _send_preview(self, job_id: str) -> None:
        sealed = await get_preview(job_id)
        key = await self._preview_key(sealed.attempt_id) if sealed else None
        if sealed is None or key is None:
            return
        context = Context(
            organization=self.actor.organization_id, object_id=sealed.attempt_id, kind="preview"
        )
        try:
            picture = open_sealed(sealed.envelope, key=key, context=context)
        except SealBrokenError:
            logger.warning("a preview of %s did not open", job_id)
            return
        frame = PreviewFrame(subject_id=job_id, index=sealed.index, payload=picture)
        await self.send(bytes_data=frame.encode())

    async def _preview_key(self, attempt_id: str) -> bytes | None:
        if attempt_id not in self.preview_keys:
            if len(self.preview_keys) >= PREVIEW_KEYS_KEPT:
                self.preview_keys.pop(next(iter(self.preview_keys)))
            find = database_sync_to_async(self._find_preview_key)
            self.preview_keys[attempt_id] = await find(attempt_id)
        return self.preview_keys[attempt_id]

    def _find_preview_key(self, attempt_id: str) -> bytes | None:
        with organization_scope(self.actor.organization_id):
            attempt = (
                JobAttempt.objects.select_related("job__workspace")
                .filter(pk=attempt_id, job__workspace_id=self.workspace_id)
                .first()
            )
            if attempt is None:
                return None
            return data_key(attempt.job.workspace, attempt.wrapped_preview_key)
