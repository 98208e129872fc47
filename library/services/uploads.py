"""Files that people add to the library: begun, received piece by piece, gone on with, given up.

A browser that was closed and a line that was cut go on where they were: what has arrived is in the
store. The last piece hands the file on to a worker (`library.services.importing`).
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Sum
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Organization
from accounts.roles import Permission
from accounts.services.audit import record_event
from accounts.services.organization_keys import seal_for
from library.models import OPEN_STATES, ModelFile, ModelUpload, UploadState
from library.services.upload_store import erase, piece_size, put_piece
from library.uploads import FINGERPRINT_MAX, Details, check_file_name, name_in_address
from studio.core import storage
from studio.core.errors import BusyError, ConflictError, NotFoundError, StoreFullError, invalid
from studio.core.ids import new_id
from studio.core.queue import send_on_commit

QUEUE = "models"
CHECK, FETCH = "check_model_upload", "fetch_model_upload"
ADDRESS_KIND = "model_address"
OPEN_MAX = 12
LISTED = 30
KEPT = timedelta(days=3)
DONE_KEPT = timedelta(hours=12)
STALE = timedelta(minutes=15)
_LEAST_BYTES = 16
_GIB = 1024**3


def recent_uploads() -> list[ModelUpload]:
    """What is on its way, and what has just arrived or failed; the newest first."""
    return list(ModelUpload.objects.select_related("version__asset").order_by("-id")[:LISTED])


def get_upload(actor: Actor, upload_id: str) -> ModelUpload:
    """An upload of the actor's organization.

    Raises:
        NotFoundError: there is none.
    """
    actor.require(Permission.MODEL_MANAGE)
    uploads = ModelUpload.objects.select_related("version__asset")
    upload = uploads.filter(pk=upload_id).first() if "\0" not in upload_id else None
    if upload is None:
        raise NotFoundError(noun="upload")
    return upload


def begin_upload(
    *, actor: Actor, file_name: object, size_bytes: object, details: Details, fingerprint: object
) -> tuple[ModelUpload, bool]:
    """Begin, or go on with the same file of the same person; whether it is new.

    Raises:
        InvalidInputError: the file or what is said about it cannot be.
        BusyError: too much is open.
        StoreFullError: it would not fit.
    """
    actor.require(Permission.MODEL_MANAGE)
    name, size = check_file_name(file_name), _checked_size(size_bytes)
    print_ = fingerprint if isinstance(fingerprint, str) and fingerprint.isprintable() else ""
    print_ = print_[:FINGERPRINT_MAX]
    if (known := _open_one(actor, print_, size)) is not None:
        return _described(known, details), False
    _check_room(size)
    try:
        with transaction.atomic():
            upload = _create(
                actor,
                UploadState.RECEIVING,
                file_name=name,
                size_bytes=size,
                fingerprint=print_,
                details=details.to_json(),
            )
    except IntegrityError:  # another tab was quicker with the same file
        known = _open_one(actor, print_, size)
        if known is None:
            raise
        return known, False
    return upload, True


def begin_fetch(*, actor: Actor, address: object, details: Details) -> ModelUpload:
    """Have a worker fetch a file from the web; the address is kept sealed, and only until then.

    Raises:
        InvalidInputError: the address cannot be, or is that of a pickle.
        BusyError: too much is open.
    """
    actor.require(Permission.MODEL_MANAGE)
    text = address.strip() if isinstance(address, str) else ""
    if not text.lower().startswith(("http://", "https://")) or len(text) > 2_048:
        message = "This is not a web address. It begins with https:// or http://, then a site."
        raise invalid("url", "not_an_address", message)
    name = name_in_address(text)
    upload_id = new_id("mup")
    organization = Organization.objects.get(pk=actor.organization_id)
    sealed = seal_for(organization, text.encode(), kind=ADDRESS_KIND, object_id=upload_id)
    with transaction.atomic():
        upload = _create(
            actor,
            UploadState.FETCHING,
            pk=upload_id,
            file_name=name,
            sealed_address=sealed,
            details=details.to_json(),
        )
        send_on_commit(FETCH, upload.pk, queue_name=QUEUE)
    return upload


def _create(actor: Actor, state: UploadState, **fields: object) -> ModelUpload:
    """The row and its event. One after the other in an organization, so that limits hold."""
    Organization.objects.select_for_update().get(pk=actor.organization_id)
    asked = fields.get("size_bytes", 0)
    if _open_uploads().count() >= OPEN_MAX:
        raise BusyError(what=f"{OPEN_MAX} files are being added already.")
    check_quota(int(asked) if isinstance(asked, int) else 0)
    upload = ModelUpload.objects.create(
        organization_id=actor.organization_id,
        created_by_id=actor.user_id,
        state=state.value,
        expires_at=timezone.now() + KEPT,
        **fields,
    )
    how = "address" if state is UploadState.FETCHING else "file"
    record_event(actor, "model_upload.begun", upload.pk, {"from": how})
    return upload


def _checked_size(value: object) -> int:
    size = value if isinstance(value, int) and not isinstance(value, bool) else -1
    limit: int = settings.MODEL_MAX_BYTES
    if size < _LEAST_BYTES:
        message = "The file is empty, or its size was not said."
        raise invalid("size_bytes", "too_small", message, value, _LEAST_BYTES)
    if size > limit:
        message = f"The file has {size / _GIB:.1f} GiB; at most {limit / _GIB:.0f} GiB can be added"
        raise invalid("size_bytes", "too_large", f"{message}.", size, limit)
    return size


def _open_uploads() -> QuerySet[ModelUpload]:
    return ModelUpload.objects.filter(state__in=[state.value for state in OPEN_STATES])


def check_quota(size: int) -> None:
    """So many bytes more; open uploads count in full, as if they had arrived.

    Raises:
        InvalidInputError: the organization's models would take more than it may have.
    """
    limit: int = settings.MODEL_QUOTA_BYTES
    own = ModelFile.objects.exclude(version__asset__organization=None)
    kept = own.values("sha256", "size_bytes").distinct()
    taken = sum(row["size_bytes"] for row in kept)
    taken += _open_uploads().aggregate(total=Sum("size_bytes"))["total"] or 0
    if taken + size > limit:
        message = (
            f"Models of this organization would take {(taken + size) / _GIB:.1f} GiB; it may have "
            f"{limit / _GIB:.0f} GiB. Ask whoever runs the studio for more."
        )
        raise invalid("size_bytes", "quota", message, taken + size, limit)


def _check_room(size: int) -> None:
    """Where the store is a folder its disk can say no before hours of uploading."""
    place = storage.store()
    if not isinstance(place, FileSystemStorage):
        return
    folder = place.path("")
    try:
        free = shutil.disk_usage(folder).free
    except FileNotFoundError:  # nothing was stored yet
        return
    if free < size:
        raise StoreFullError


def _open_one(actor: Actor, fingerprint: str, size: int) -> ModelUpload | None:
    if not fingerprint:
        return None
    return ModelUpload.objects.filter(
        created_by_id=actor.user_id,
        fingerprint=fingerprint,
        size_bytes=size,
        state=UploadState.RECEIVING.value,
    ).first()


def _described(upload: ModelUpload, details: Details) -> ModelUpload:
    upload.details = details.to_json()
    upload.save(update_fields=["details"])
    return upload


def receive_piece(*, actor: Actor, upload_id: str, offset: int, content: bytes) -> ModelUpload:
    """Take the piece that begins at `offset`. Two tabs that send the same file help each other.

    Raises:
        ConflictError: another piece comes next; `GET` says which.
        InvalidInputError: the piece is not as long as it must be.
        StoreFullError: there is no room; what has arrived stays.
    """
    actor.require(Permission.MODEL_MANAGE)
    with transaction.atomic():
        uploads = ModelUpload.objects.select_for_update()
        upload = uploads.filter(pk=upload_id).first() if "\0" not in upload_id else None
        if upload is None:
            raise NotFoundError(noun="upload")
        if upload.state != UploadState.RECEIVING.value:
            raise ConflictError(what="This file has arrived already, or is not sent by you.")
        if offset != upload.received_bytes:
            next_ = f"The next piece begins at {upload.received_bytes:,}, this one at {offset:,}."
            raise ConflictError(what=next_)
        if len(content) != (size := piece_size(upload, offset)):
            message = f"The piece has {len(content):,} bytes; this one must have {size:,}."
            raise invalid("body", "wrong_size", message, len(content), size)
        put_piece(upload, offset, content)
        upload.received_bytes += size
        upload.expires_at = timezone.now() + KEPT
        if upload.received_bytes == upload.size_bytes:
            _hand_on(upload)
        upload.save()
    return upload


def _hand_on(upload: ModelUpload) -> None:
    """To a worker, in the running transaction; the caller saves."""
    upload.state = UploadState.CHECKING.value
    upload.claimed_at, upload.checked_bytes, upload.problem = None, 0, {}
    send_on_commit(CHECK, upload.pk, queue_name=QUEUE)


@transaction.atomic
def try_again(*, actor: Actor, upload_id: str, details: Details) -> ModelUpload:
    """Check a file anew that was refused, under what is said now; nothing is sent twice.

    Raises:
        ConflictError: it was not refused, or its bytes are not all here.
    """
    get_upload(actor, upload_id)
    upload = ModelUpload.objects.select_for_update().get(pk=upload_id)
    is_whole = 0 < upload.size_bytes == upload.received_bytes
    if upload.state != UploadState.FAILED.value or not is_whole:
        raise ConflictError(what="Only a file that has arrived and was refused can be tried again.")
    upload.details = details.to_json()
    upload.expires_at = timezone.now() + KEPT
    _hand_on(upload)
    upload.save()
    record_event(actor, "model_upload.tried_again", upload.pk)
    return upload


def cancel_upload(*, actor: Actor, upload_id: str) -> None:
    """Give it up and forget its bytes. What is registered already stays.

    Raises:
        NotFoundError: there is none.
    """
    upload = get_upload(actor, upload_id)
    with transaction.atomic():
        ModelUpload.objects.filter(pk=upload.pk).delete()
        record_event(actor, "model_upload.canceled", upload.pk)
        transaction.on_commit(lambda: erase(upload))


def sweep_uploads(now: datetime | None = None) -> int:
    """Forget what nobody went on with, and wake what a lost message left behind; how many.

    For work in the system scope.
    """
    now = now or timezone.now()
    over = list(ModelUpload.objects.filter(expires_at__lt=now)[:100])
    for upload in over:
        erase(upload)  # first: a row that stays is swept again, bytes without a row never
        ModelUpload.objects.filter(pk=upload.pk).delete()
    begun = Q(claimed_at__lt=now - STALE) | Q(claimed_at=None, created_at__lt=now - STALE)
    for state, actor_name in ((UploadState.CHECKING, CHECK), (UploadState.FETCHING, FETCH)):
        stale = ModelUpload.objects.filter(begun, state=state.value, expires_at__gte=now)
        for pk in list(stale.values_list("pk", flat=True)[:100]):
            with transaction.atomic():
                # The next sweep does not ask again at once: not before the worker had its time.
                ModelUpload.objects.filter(pk=pk).update(created_at=now, claimed_at=None)
                send_on_commit(actor_name, pk, queue_name=QUEUE)
    return len(over)


def count_received(upload_id: str, size: int) -> bool:
    """Bytes that a fetch has put into the store; False if it was given up meanwhile."""
    now = timezone.now()
    return bool(
        ModelUpload.objects.filter(pk=upload_id, state=UploadState.FETCHING.value).update(
            received_bytes=F("received_bytes") + size, claimed_at=now, expires_at=now + KEPT
        )
    )
