"""The object store behind `STORAGE_URL`: a folder (`file:///…`) or S3 (`s3://bucket?…`).

Only sealed bytes and public weights lie in it. Keys look like `org_…/wsp_…/art_….sealed`.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage

from studio.core.errors import StoreFullError

UPLOAD_URL_SECONDS = 7 * 86_400  # S3 signs no longer; the bytes are sealed, so it may be long


@lru_cache(maxsize=1)
def store() -> Storage:
    """The store that `STORAGE_URL` names.

    Raises:
        ImproperlyConfigured: the URL is of another kind.
    """
    parts = urlsplit(settings.STORAGE_URL)
    if parts.scheme == "file":
        return FileSystemStorage(
            location=unquote(parts.path),
            file_permissions_mode=0o600,
            directory_permissions_mode=0o700,
        )
    if parts.scheme == "s3":
        return _s3(parts.netloc, {k: v[0] for k, v in parse_qs(parts.query).items()})
    raise ImproperlyConfigured(
        f"STORAGE_URL is {parts.scheme}://…; it must be file:///folder or s3://bucket?endpoint=…"
    )


def _s3(bucket: str, options: dict[str, str]) -> Storage:
    from storages.backends.s3 import S3Storage  # boto3 takes 0.4 s to import; only S3 users pay

    return cast(
        "Storage",
        S3Storage(
            bucket_name=bucket,
            endpoint_url=options.get("endpoint"),
            region_name=options.get("region"),
            addressing_style=options.get("addressing", "auto"),
            file_overwrite=True,
            default_acl=None,
            querystring_auth=True,
        ),
    )


def put(key: str, content: bytes) -> None:
    """Write an object.

    Raises:
        StoreFullError: the disk is full; nothing of the object is left.
    """
    place = store()
    try:
        if place.exists(key):
            place.delete(key)
        place.save(key, ContentFile(content))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place.delete(key)
            raise StoreFullError from error
        raise


def put_file(key: str, path: Path) -> None:
    """Write an object from a file, a piece at a time.

    Raises:
        StoreFullError: the disk is full; nothing of the object is left.
    """
    place = store()
    try:
        with path.open("rb") as file:
            place.save(key, File(file))
    except OSError as error:
        place.delete(key)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFullError from error
        raise


@contextmanager
def work_folder() -> Iterator[Path]:
    """An empty folder on this machine for large files, while this lasts."""
    parent = Path(settings.WORK_FOLDER)
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


def open_object(key: str) -> File[bytes]:
    """A seekable reader of an object.

    Raises:
        FileNotFoundError: there is no such object.
    """
    return cast("File[bytes]", store().open(key, "rb"))


def delete(key: str) -> None:
    """Remove an object; one that is gone already is fine."""
    store().delete(key)


def delete_folder(folder: str) -> int:
    """Remove the objects that lie right under `folder`, and it with them; how many there were."""
    place = store()
    try:
        _folders, names = place.listdir(folder)
    except FileNotFoundError:
        return 0
    for name in names:
        place.delete(f"{folder}/{name}")
    if isinstance(place, FileSystemStorage):
        place.delete(folder)
    return len(names)


def exists(key: str) -> bool:
    """Whether an object is there."""
    return store().exists(key)


def size(key: str) -> int:
    """Size in bytes."""
    return store().size(key)


def folder_url(key: str) -> str:
    """`file://` address of an object, for an agent that shares the folder."""
    return Path(store().path(key)).as_uri()


def upload_url(key: str) -> str | None:
    """An address an agent may PUT to without credentials of ours; None for a folder."""
    place = store()
    if isinstance(place, FileSystemStorage):
        return None
    client = place.connection.meta.client  # type: ignore[attr-defined]  # S3Storage has no stubs
    return str(
        client.generate_presigned_url(
            "put_object",
            Params={"Bucket": place.bucket_name, "Key": key},  # type: ignore[attr-defined]  # same
            ExpiresIn=UPLOAD_URL_SECONDS,
        )
    )


def download_url(key: str) -> str | None:
    """A short-lived address an agent may GET from; None for a folder."""
    place = store()
    return None if isinstance(place, FileSystemStorage) else str(place.url(key))
