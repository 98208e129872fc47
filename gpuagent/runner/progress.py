"""Progress and previews of one attempt, at a pace that people can see and no faster."""

from __future__ import annotations

import threading
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field

from gpuagent.pipelines.encode import encode_preview
from gpuagent.pipelines.preview import Floats, LatentColors
from gpuagent.pipelines.steps import Peek
from gpuagent.protocol import sealing
from gpuagent.protocol.frames import PreviewFrame
from gpuagent.protocol.messages import Assignment, AttemptProgress, AttemptStarted
from gpuagent.runner.held import Held
from gpuagent.runner.link import Link
from gpuagent.runner.logs import log_trouble

PROGRESS_SECONDS = 1 / 4  # pages are told four times a second
PREVIEW_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewOrder:
    """A latent that is to be shown."""

    attempt_id: str
    organization: str
    index: int
    latent: Floats
    colors: LatentColors
    key: bytes = field(repr=False)


def make_preview(order: PreviewOrder) -> PreviewFrame:
    """Render, encode and seal a preview."""
    picture = encode_preview(order.colors.pixels(order.latent))
    context = sealing.Context(
        organization=order.organization, object_id=order.attempt_id, kind="preview"
    )
    payload = sealing.seal(picture, key=order.key, context=context)
    return PreviewFrame(subject_id=order.attempt_id, index=order.index, payload=payload)


class PreviewThread:
    """Makes previews beside the denoising; of an attempt's only the latest."""

    def __init__(self, send: Callable[[PreviewFrame], None]) -> None:
        self._send = send
        self._orders: dict[str, PreviewOrder] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="previews", daemon=True)
        self._thread.start()

    def offer(self, order: PreviewOrder) -> None:
        """Show this next; what still waits of the attempt is dropped."""
        with self._changed:
            self._orders[order.attempt_id] = order
            self._changed.notify()

    def drop(self, attempt_id: str) -> None:
        """Forget what waits for an attempt: it is over."""
        with self._changed:
            self._orders.pop(attempt_id, None)

    def close(self) -> None:
        """Stop."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(1)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._orders or self._is_closing)
                if self._is_closing:
                    return
                order = self._orders.pop(next(iter(self._orders)))
            try:
                self._send(make_preview(order))
            except Exception as error:  # a preview is never worth an attempt
                log_trouble("preview.failed", error=type(error).__name__)


class ProgressReporter:
    """Tells the studio how far an attempt is. Called on the compute thread, so it only queues."""

    def __init__(
        self,
        assignment: Assignment,
        held: Held,
        link: Link,
        previews: PreviewThread,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assignment = assignment
        self._held = held
        self._link = link
        self._previews = previews
        self._clock = clock
        self._key = b64decode(assignment.preview_key)
        self._progress_at = -1.0
        self._preview_at: float | None = None

    def started(self) -> None:
        """The weights are resident; denoising begins."""
        self._link.send(
            AttemptStarted(
                attempt_id=self._held.attempt_id,
                fence=self._held.fence,
                seq=self._held.next_seq(),
            )
        )

    def ended(self) -> None:
        """No more pictures are made: what waits to be shown is of no use."""
        self._previews.drop(self._held.attempt_id)

    def step(
        self, index: int, count: int, done: int, of: int, peek: Peek, colors: LatentColors
    ) -> None:
        """Step `done` of `of` of picture `index` has been taken."""
        now = self._clock()
        if done == of or now - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = now
            self._link.send(
                AttemptProgress(
                    attempt_id=self._held.attempt_id,
                    fence=self._held.fence,
                    seq=self._held.next_seq(),
                    index=index,
                    count=count,
                    step=done,
                    steps=of,
                )
            )
        # Of a last step there is a picture soon; a preview would only come after it.
        if self._preview_at is None or (done < of and now - self._preview_at >= PREVIEW_SECONDS):
            self._preview_at = now
            self._previews.offer(
                PreviewOrder(
                    attempt_id=self._held.attempt_id,
                    organization=self._assignment.organization,
                    index=index,
                    latent=peek(),
                    colors=colors,
                    key=self._key,
                )
            )
