"""Model files on the local disk, by the SHA-256 of their bytes.

`models/<sha256>` holds a file, `views/<digest>/…` the folder of a model version as the loaders
want it, made of links. Files appear by rename only, so a killed agent leaves nothing half-written.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections import defaultdict
from pathlib import Path, PurePosixPath

from gpuagent.cache.errors import AttemptFailedError, store_failed
from gpuagent.cache.places import PlaceRefusedError
from gpuagent.cache.sources import SourceError, Sources
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelFileRef, ModelRef

_TEMPORARY = ".tmp-"


class FileCache:
    """Fetches each file once, verifies it while it is fetched, and builds folders from them."""

    def __init__(self, root: Path, sources: Sources) -> None:
        self._models = root / "models"
        self._views = root / "views"
        self._sources = sources
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        for folder in (self._models, self._views):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)

    def folder(self, model: ModelRef) -> Path:
        """The folder of a model version with all its files in place.

        Raises:
            AttemptFailedError: a file cannot be had, or is not what its hash says.
        """
        digest = _hex_digest(model.digest)
        with self._lock(digest):
            sources = {_clean_path(ref.path): self._file(ref) for ref in model.files}
            view = self._views / digest
            if not _is_view_of(view, sources):
                self._build_view(view, sources)
            return view

    def forget(self, model: ModelRef) -> None:
        """Drop the files of a model version, so that the next use fetches them again."""
        digest = _hex_digest(model.digest)
        with self._lock(digest):
            shutil.rmtree(self._views / digest, ignore_errors=True)
            for ref in model.files:
                (self._models / _hex_digest(ref.sha256)).unlink(missing_ok=True)

    def notes(self, digest: str) -> Path:
        """Where small facts measured on a model version may be kept (beside its view)."""
        return self._views / f"{_hex_digest(digest)}.json"

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]

    def _file(self, ref: ModelFileRef) -> Path:
        path = self._models / _hex_digest(ref.sha256)
        with self._lock(f"file {ref.sha256}"):
            if path.is_file() and path.stat().st_size == ref.size_bytes:
                return path
            path.unlink(missing_ok=True)
            # Once more on a mismatch: a broken transfer is common, a broken source is not.
            if not (self._fetch(ref, path) or self._fetch(ref, path)):
                raise AttemptFailedError(FailureCode.MODEL_CORRUPT, sha256=ref.sha256[:16])
        return path

    def _fetch(self, ref: ModelFileRef, path: Path) -> bool:
        """Copy one file here; False if what came is not what the hash says."""
        temporary = _temporary_name(path)
        try:
            is_genuine = self._copy(ref, temporary)
            if is_genuine:
                temporary.replace(path)
            return is_genuine
        except (SourceError, PlaceRefusedError) as error:
            raise AttemptFailedError(
                FailureCode.MODEL_UNREADABLE, reason=str(error), file=PurePosixPath(ref.path).name
            ) from error
        except OSError as error:
            raise store_failed(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _copy(self, ref: ModelFileRef, target: Path) -> bool:
        seen, size = hashlib.sha256(), 0
        with self._sources.open(ref.url) as chunks, target.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > ref.size_bytes:
                    return False
                seen.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return size == ref.size_bytes and seen.hexdigest() == ref.sha256

    def _build_view(self, view: Path, sources: dict[PurePosixPath, Path]) -> None:
        temporary = _temporary_name(view)
        try:
            for relative, source in sources.items():
                target = temporary / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(source, target)
            shutil.rmtree(view, ignore_errors=True)
            temporary.replace(view)
        except OSError as error:
            raise store_failed(error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole or not there, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")


def _remove_leftovers(folder: Path) -> None:
    """What a killed agent was writing; only one agent uses a cache folder."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _hex_digest(digest: str) -> str:
    """The digest, if it is one: it becomes a file name."""
    if len(digest) == 64 and all(character in "0123456789abcdef" for character in digest):
        return digest
    raise AttemptFailedError(FailureCode.MODEL_UNREADABLE, reason="not a SHA-256")


def _clean_path(path: str) -> PurePosixPath:
    clean = PurePosixPath(path)
    is_odd = not path or "\\" in path or "\x00" in path or ":" in path
    if is_odd or clean.is_absolute() or not clean.parts or ".." in clean.parts:
        raise AttemptFailedError(FailureCode.MODEL_UNREADABLE, reason="file path leads outside")
    return clean


def _is_view_of(view: Path, sources: dict[PurePosixPath, Path]) -> bool:
    try:
        return all((view / relative).samefile(source) for relative, source in sources.items())
    except OSError:
        return False


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source.resolve())
