"""Previews on their way to pages: found to be newer, opened once, framed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping

from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.sealing import Context, SealBrokenError, open_sealed
from jobs.progress import Progress, SealedPreview, read_previews
from jobs.room_reads import in_thread, preview_key

KEYS_KEPT = 64
logger = logging.getLogger(__name__)


class OpenedPreviews:
    """Of one workspace."""

    def __init__(self, workspace_id: str, organization_id: str) -> None:
        self._workspace_id = workspace_id
        self._organization_id = organization_id
        self.frames: dict[str, bytes] = {}
        """The latest of each job that goes on."""
        self._shown: dict[str, tuple[str, int]] = {}
        self._keys: dict[str, bytes | None] = {}

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._shown.pop(job_id, None)
        self.frames.pop(job_id, None)

    async def newer(self, numbers: Mapping[str, Progress]) -> AsyncIterator[tuple[str, bytes]]:
        """Frames of those previews that have not been shown."""
        marks = {job: (p.attempt_id, p.preview) for job, p in numbers.items() if p.preview}
        wanted = [job for job, mark in marks.items() if self._shown.get(job) != mark]
        for job_id, sealed in (await read_previews(wanted)).items():
            self._shown[job_id] = marks[job_id]
            picture = await self._open(job_id, sealed)
            if picture is not None:
                frame = PreviewFrame(subject_id=job_id, index=sealed.index, payload=picture)
                self.frames[job_id] = frame.encode()
                yield job_id, self.frames[job_id]

    async def _open(self, job_id: str, sealed: SealedPreview) -> bytes | None:
        key = await self._key(sealed.attempt_id)
        if key is None:
            return None
        context = Context(
            organization=self._organization_id, object_id=sealed.attempt_id, kind="preview"
        )
        try:
            return open_sealed(sealed.envelope, key=key, context=context)
        except SealBrokenError:
            logger.warning("a preview of %s did not open", job_id)
            return None

    async def _key(self, attempt_id: str) -> bytes | None:
        if attempt_id not in self._keys:
            find = in_thread(preview_key)
            key = await find(attempt_id, self._workspace_id, self._organization_id)
            if len(self._keys) >= KEYS_KEPT:
                self._keys.pop(next(iter(self._keys)))
            self._keys[attempt_id] = key
        return self._keys[attempt_id]
