"""Copying one file from its source to the disk, hashed on the way; large ones in parallel parts."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpuagent.cache.sources import CHUNK_BYTES, SourceError, Sources
from gpuagent.protocol.messages import ModelFileRef

PARTS_FROM_BYTES = 32 * 1024**2
PART_BYTES = 16 * 1024**2
PARTS_AT_ONCE = 4
_TRIES = 3
# File systems that cannot reserve space say so; then a full disk shows while writing.
_CANNOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def copy_file(sources: Sources, ref: ModelFileRef, target: Path) -> bool:
    """Copy a file and sync it to disk; False if what came is not what the hash says.

    Raises:
        SourceError: the source cannot be read.
        PlaceRefusedError: it may not be.
        OSError: the disk does not take it.
    """
    with target.open("w+b") as file:
        _reserve(file.fileno(), ref.size_bytes)
        if ref.size_bytes >= PARTS_FROM_BYTES and sources.has_ranges(ref.url, ref.size_bytes):
            is_genuine = _copy_parts(sources, ref, file.fileno())
        else:
            is_genuine = _copy_whole(sources, ref, file.fileno())
        os.fsync(file.fileno())
    return is_genuine


def file_hash(path: Path) -> str:
    """SHA-256 of what lies there."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reserve(descriptor: int, size: int) -> None:
    """Ask for all the room at once: better to hear that the disk is full before the copying."""
    if size == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


def _copy_whole(sources: Sources, ref: ModelFileRef, descriptor: int) -> bool:
    seen, size = hashlib.sha256(), 0
    with sources.open(ref.url) as chunks:
        for chunk in chunks:
            if size + len(chunk) > ref.size_bytes:
                return False
            seen.update(chunk)
            _write(descriptor, chunk, size)
            size += len(chunk)
    return size == ref.size_bytes and seen.hexdigest() == ref.sha256


def _copy_parts(sources: Sources, ref: ModelFileRef, descriptor: int) -> bool:
    """Several connections fill the file; it is hashed from its start as the parts come in."""
    starts = range(0, ref.size_bytes, PART_BYTES)
    seen = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="fetch")
        stack.callback(pool.shutdown, cancel_futures=True)
        futures = [pool.submit(_copy_part, sources, ref, descriptor, start) for start in starts]
        for start, future in zip(starts, futures, strict=True):
            future.result()
            end = min(start + PART_BYTES, ref.size_bytes)
            for at in range(start, end, CHUNK_BYTES):
                seen.update(os.pread(descriptor, min(CHUNK_BYTES, end - at), at))
    return seen.hexdigest() == ref.sha256


def _copy_part(sources: Sources, ref: ModelFileRef, descriptor: int, start: int) -> None:
    """One part, from where it broke off if it does, a few times."""
    at, end = start, min(start + PART_BYTES, ref.size_bytes)
    for left in range(_TRIES - 1, -1, -1):
        try:
            with sources.open_range(ref.url, at, end) as chunks:
                for chunk in chunks:
                    _write(descriptor, chunk[: end - at], at)
                    at += len(chunk)
            if at >= end:
                return
            raise SourceError("ended early")
        except SourceError:
            if left == 0:
                raise


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
