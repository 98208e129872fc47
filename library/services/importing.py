"""What a worker does with a file that people add: fetch it, recognise it, register it.

Each of these may run twice, and may be cut off anywhere: registering the same file again is the
same version. A line that breaks is taken up where it broke; a worker that dies fetches anew.
"""

from __future__ import annotations

import errno
import logging
import time
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.models import Organization
from accounts.services.organization_keys import open_for
from gpuagent.protocol.sealing import SealBrokenError
from library.models import ModelUpload, ModelVersion, UploadState
from library.services.files import register_file
from library.services.registration import Description
from library.services.upload_store import assemble, erase, in_pieces, piece_size, put_piece
from library.services.uploads import (
    ADDRESS_KIND,
    CHECK,
    DONE_KEPT,
    KEPT,
    QUEUE,
    check_quota,
    count_received,
)
from library.uploads import Details, read_details
from studio.core import storage
from studio.core.errors import InvalidInputError, StoreFullError, StudioError
from studio.core.fetching import (
    OTHER_PART,
    Answer,
    FetchError,
    Guard,
    Rest,
    default_guard,
    fetch_into,
)
from studio.core.queue import send_on_commit
from studio.core.scoping import organization_scope

# As long as a worker says nothing, another may take over.
CLAIM = timedelta(minutes=10)
CLAIM_AGAIN_SECONDS = 60
FETCH_SECONDS = 6 * 3_600.0
TRIES = 5  # one after the other without a further piece
PAUSE_SECONDS = 1.0
_PASSING = frozenset({"unreachable", "cut_short"})
_TELL_SECONDS = 1.0
logger = logging.getLogger(__name__)


class _GivenUpError(Exception):
    """Somebody canceled it."""


def check_upload(upload_id: str) -> int | None:
    """Register a file that has arrived; None, or seconds after which to ask again.

    For work in the system scope.
    """
    upload = _claim(upload_id, UploadState.CHECKING)
    if not isinstance(upload, ModelUpload):
        return upload
    with organization_scope(upload.organization_id):
        try:
            version = _register(upload)
        except StudioError as error:
            _fail(upload, error)
        except FileNotFoundError:
            _fail(upload, _lost())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _fail(upload, StoreFullError())
        else:
            _finish(upload, version)
    return None


def fetch_upload(upload_id: str, *, guard: Guard | None = None) -> int | None:
    """Fetch a file from where somebody said; then it is checked like one that was sent.

    For work in the system scope.
    """
    upload = _claim(upload_id, UploadState.FETCHING)
    if not isinstance(upload, ModelUpload):
        return upload
    with organization_scope(upload.organization_id):
        ModelUpload.objects.filter(pk=upload.pk).update(received_bytes=0, size_bytes=0)
        upload.received_bytes = upload.size_bytes = 0
        try:
            _fetch(upload, guard or _patient(default_guard()))
        except _GivenUpError:
            erase(upload)
        except StudioError as error:
            erase(upload)
            _fail(upload, error)
    return None


def _patient(guard: Guard) -> Guard:
    """Large files take their time; a line that says nothing for a while is cut all the same."""
    return Guard(
        resolve=guard.resolve,
        allows=guard.allows,
        ports=guard.ports,
        tls=guard.tls,
        total_seconds=FETCH_SECONDS,
    )


def _claim(upload_id: str, state: UploadState) -> ModelUpload | int | None:
    """The upload, if it waits and nobody is at it; else when to ask again."""
    now = timezone.now()
    waiting = ModelUpload.objects.filter(pk=upload_id, state=state.value)
    free = Q(claimed_at=None) | Q(claimed_at__lt=now - CLAIM)
    if waiting.filter(free).update(claimed_at=now):
        return waiting.first()
    return CLAIM_AGAIN_SECONDS if waiting.exists() else None


def _register(upload: ModelUpload) -> ModelVersion:
    details = _details(upload)
    with storage.work_folder() as folder:
        path = folder / upload.file_name
        assemble(upload, path, _Teller(upload))
        return register_file(
            path,
            Description(name=details.name, licence=details.licence, text=details.description),
            organization_id=upload.organization_id,
            trigger_words=details.trigger_words,
            config=details.config,
            preprocessor=details.preprocessor,
        )


def _details(upload: ModelUpload) -> Details:
    return read_details(upload.details)


class _Teller:
    """Writes down how far it is, once a second, and so that somebody is at it."""

    def __init__(self, upload: ModelUpload) -> None:
        self._upload = upload
        self._told = 0.0

    def __call__(self, done: int) -> None:
        if time.monotonic() - self._told < _TELL_SECONDS:
            return
        self._told = time.monotonic()
        mine = ModelUpload.objects.filter(pk=self._upload.pk)
        mine.update(checked_bytes=done, claimed_at=timezone.now())


def _fetch(upload: ModelUpload, guard: Guard) -> None:
    organization = Organization.objects.get(pk=upload.organization_id)
    try:
        address = open_for(
            organization, upload.sealed_address or b"", kind=ADDRESS_KIND, object_id=upload.pk
        ).decode()
    except SealBrokenError:
        raise _lost() from None
    size = _fetch_whole(upload, address, guard)
    arrived = ModelUpload.objects.filter(pk=upload.pk, state=UploadState.FETCHING.value)
    if arrived.update(
        state=UploadState.CHECKING.value,
        size_bytes=size,
        sealed_address=None,
        claimed_at=None,
        expires_at=timezone.now() + KEPT,
    ):
        send_on_commit(CHECK, upload.pk, queue_name=QUEUE)


def _fetch_whole(upload: ModelUpload, address: str, guard: Guard) -> int:
    """Put the file into the store, going on where the line broke; how much it was.

    A line that breaks again and again without a further piece is given up.
    """
    limit: int = settings.MODEL_MAX_BYTES
    coming = _Coming(upload)
    end, furthest, fruitless = time.monotonic() + FETCH_SECONDS, 0, 0
    while True:
        try:
            return fetch_into(
                address, coming.take, max_bytes=limit, guard=guard, rest=coming.rest()
            )
        except FetchError as error:
            code = error.problems[0].code
            if code == OTHER_PART:
                coming.forget()
            elif code not in _PASSING or not coming.rest():
                raise
            fruitless = 0 if coming.received > furthest else fruitless + 1
            furthest = max(furthest, coming.received)
            if fruitless == TRIES or time.monotonic() > end:
                raise
        time.sleep(PAUSE_SECONDS * 2**fruitless)


class _Coming:
    """A file on its way into the store, piece by piece."""

    def __init__(self, upload: ModelUpload) -> None:
        self._upload = upload
        self.received = 0
        self._validator = ""

    def rest(self) -> Rest | None:
        """What can be asked for without what is there; None if all must come again."""
        return Rest(self.received, self._validator) if self._validator and self.received else None

    def forget(self) -> None:
        """What came is of another file: all of it is asked for again."""
        self._validator = ""

    def take(self, answer: Answer) -> int:
        """Put what comes into the store; how much the whole is."""
        upload = self._upload
        if answer.media_type in ("text/html", "application/xhtml+xml"):
            message = "There is a page at this address, not a file. Use the file's own address."
            raise FetchError("not_a_file", message)
        upload.size_bytes = answer.announced_bytes
        _count(upload, answer.announced_bytes)
        if answer.offset != self.received:  # it is another file by now, and comes from its start
            ModelUpload.objects.filter(pk=upload.pk).update(received_bytes=answer.offset)
        self.received, self._validator = answer.offset, answer.validator
        for piece in in_pieces(answer.pieces):
            if answer.announced_bytes and len(piece) != piece_size(upload, self.received):
                raise _cut_short()
            put_piece(upload, self.received, piece)
            if not count_received(upload.pk, len(piece)):
                raise _GivenUpError
            self.received += len(piece)
        if answer.announced_bytes and self.received != answer.announced_bytes:
            raise _cut_short()
        if not answer.announced_bytes:
            _count(upload, self.received)
        return self.received


def _cut_short() -> FetchError:
    return FetchError("cut_short", "The line broke before the file was whole. Try again.")


def _count(upload: ModelUpload, size: int) -> None:
    """Hold it against the quota, now that its size is known."""
    ModelUpload.objects.filter(pk=upload.pk).update(size_bytes=size)
    check_quota(0)


def _finish(upload: ModelUpload, version: ModelVersion) -> None:
    ModelUpload.objects.filter(pk=upload.pk).update(
        state=UploadState.DONE.value,
        version=version,
        fingerprint="",
        expires_at=timezone.now() + DONE_KEPT,
    )
    erase(upload)


def _fail(upload: ModelUpload, error: StudioError) -> None:
    """Where it went wrong is shown in place; the bytes stay for another try, until it expires."""
    logger.warning("model upload %s was refused (%s)", upload.pk, error.code)
    first = next(iter(error.problems), None)
    problem = {
        "code": first.code if first else error.code,
        "field": first.field if first else "",
        "message": first.message if first else error.message,
    }
    mine = ModelUpload.objects.filter(pk=upload.pk)
    mine.update(state=UploadState.FAILED.value, problem=problem, sealed_address=None)


def _lost() -> InvalidInputError:
    return FetchError("lost", "Some of the file was lost on its way. Give it up and add it again.")
