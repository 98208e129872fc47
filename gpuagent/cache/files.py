"""Model files on the local disk, by the SHA-256 of their bytes, within a budget.

`models/<sha256>` holds a file, `views/<digest>/…` the folder of a model version as the loaders
want it, made of links. Files appear by rename only, so a killed agent leaves nothing half-written.
Least recently used files go when room is needed; what is held by work never does.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from gpuagent.cache.errors import AttemptFailedError, store_failed
from gpuagent.cache.fetching import copy_file, file_hash
from gpuagent.cache.index import Index
from gpuagent.cache.places import PlaceRefusedError
from gpuagent.cache.sources import SourceError, Sources
from gpuagent.cache.writing import remove_leftovers, temporary_name
from gpuagent.planning.eviction import Kept, choose_evictions
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelFileRef, ModelRef

T = TypeVar("T")

# Of the disk, for everybody else on it: the share while old files can go instead, the bytes always.
_LEFT_FREE_BYTES = 1024**3
_LEFT_FREE_SHARE = 0.05


class FileCache:
    """Fetches each file once, verifies it while it is fetched, and builds folders from them."""

    def __init__(self, root: Path, sources: Sources, *, budget_bytes: int | None = None) -> None:
        self._models = root / "models"
        self._views = root / "views"
        self._sources = sources
        self._guard = threading.RLock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._held: Counter[str] = Counter()
        self._fetched: set[str] = set()
        for folder in (self._models, self._views):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        self._index = Index(root / "index.json")
        present = {path.name for path in self._models.iterdir()}
        for lost in self._index.entries.keys() - present:
            self._index.drop(lost)
        self._budget_bytes = budget_bytes

    @contextmanager
    def hold(self, model: ModelRef) -> Iterator[None]:
        """Its files stay while this lasts."""
        names = [_hex_digest(ref.sha256) for ref in model.files]
        with self._guard:
            self._held.update(names)
        try:
            yield
        finally:
            with self._guard:
                self._held.subtract(names)

    def folder(self, model: ModelRef) -> Path:
        """The folder of a model version with all its files in place.

        Raises:
            AttemptFailedError: a file cannot be had, or is not what its hash says.
        """
        digest = _hex_digest(model.digest)
        with self._lock(digest), self.hold(model):
            sources = {_clean_path(ref.path): self._file(model, ref) for ref in model.files}
            view = self._views / digest
            if not _is_view_of(view, sources):
                self._build_view(view, sources)
            self._note_use(model)
            return view

    def read(self, model: ModelRef, read: Callable[[Path], T]) -> T:
        """Read the files; if they cannot be read, fetch and verify them again, once.

        The disk may have lost what was verified when it was fetched.
        """
        with self.hold(model):
            folder = self.folder(model)
            try:
                return read(folder)
            except AttemptFailedError as error:
                if error.code is not FailureCode.MODEL_UNREADABLE:
                    raise
            self.forget(model)
            return read(self.folder(model))

    def forget(self, model: ModelRef) -> None:
        """Drop the files of a model version, so that the next use fetches them again."""
        digest = _hex_digest(model.digest)
        with self._lock(digest), self._guard:
            shutil.rmtree(self._views / digest, ignore_errors=True)
            for ref in model.files:
                self._index.drop(ref.sha256)
                (self._models / _hex_digest(ref.sha256)).unlink(missing_ok=True)

    def take_source(self, digest: str) -> str:
        """Where the files came from since this was last asked: `store` or `disk`."""
        with self._guard:
            if digest in self._fetched:
                self._fetched.discard(digest)
                return "store"
        return "disk"

    def notes(self, digest: str) -> Path:
        """Where small facts measured on a model version may be kept (beside its view)."""
        return self._views / f"{_hex_digest(digest)}.json"

    @property
    def used_bytes(self) -> int:
        """Bytes of all files that lie here."""
        with self._guard:
            return sum(kept.size_bytes for kept in self._kept())

    def views(self) -> tuple[tuple[str, int], ...]:
        """Model versions that lie here whole, with their bytes."""
        with self._guard:
            folders = [path for path in self._views.iterdir() if path.is_dir()]
            return tuple(
                (folder.name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))
                for folder in folders
                if not folder.name.startswith(".")
            )

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]

    def _file(self, model: ModelRef, ref: ModelFileRef) -> Path:
        path = self._models / _hex_digest(ref.sha256)
        with self._lock(f"file {ref.sha256}"):
            if path.is_file() and self._is_genuine(ref, path):
                return path
            with self._guard:
                self._index.drop(ref.sha256)
                self._fetched.add(model.digest)
            path.unlink(missing_ok=True)
            # Once more on a mismatch: a broken transfer is common, a broken source is not.
            if not (self._fetch(ref, path) or self._fetch(ref, path)):
                raise AttemptFailedError(FailureCode.MODEL_CORRUPT, sha256=ref.sha256[:16])
        return path

    def _is_genuine(self, ref: ModelFileRef, path: Path) -> bool:
        """Whether a file that was here is still what its hash says; read again only if it must."""
        if path.stat().st_size != ref.size_bytes:
            return False
        with self._guard:
            if self._index.is_verified(ref.sha256, path):
                return True
        if file_hash(path) != ref.sha256:
            return False
        with self._guard:
            self._index.verified(ref.sha256, path)
        return True

    def _fetch(self, ref: ModelFileRef, path: Path) -> bool:
        """Copy one file here; False if what came is not what the hash says."""
        temporary = temporary_name(path)
        try:
            self._make_room(ref.size_bytes)
            is_genuine = copy_file(self._sources, ref, temporary)
            if is_genuine:
                temporary.replace(path)
                with self._guard:
                    self._index.verified(ref.sha256, path)
            return is_genuine
        except (SourceError, PlaceRefusedError) as error:
            raise AttemptFailedError(
                FailureCode.MODEL_UNREADABLE, reason=str(error), file=PurePosixPath(ref.path).name
            ) from error
        except OSError as error:
            raise store_failed(error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, coming_bytes: int) -> None:
        """Let old files go until the coming one is within the budget, and within the disk.

        Raises:
            AttemptFailedError: what may not go leaves too little room.
        """
        with self._guard:
            kept = self._kept()
            for budget in (self._budget(_LEFT_FREE_SHARE), self._budget(0.0)):
                chosen = choose_evictions(kept, budget_bytes=budget, coming_bytes=coming_bytes)
                if chosen.does_fit:
                    break
            else:
                raise AttemptFailedError(
                    FailureCode.STORE_FAILED,
                    reason="cache too small" if budget == self._budget_bytes else "disk full",
                    needed_bytes=coming_bytes,
                    available_bytes=max(0, budget - sum(k.size_bytes for k in kept if k.is_pinned)),
                )
            for sha256 in chosen.keys:
                self._evict(sha256)

    def _evict(self, sha256: str) -> None:
        """Remove a file and the folders that link to it: a link would keep its bytes."""
        path = self._models / sha256
        identity = path.stat().st_ino if path.exists() else None
        for view in self._views.iterdir():
            linked = view.rglob("*") if view.is_dir() else ()
            if any(f.exists() and f.stat().st_ino == identity for f in linked if not f.is_dir()):
                shutil.rmtree(view, ignore_errors=True)
        path.unlink(missing_ok=True)
        self._index.drop(sha256)

    def _kept(self) -> list[Kept]:
        """All files, for the planner; those that the index does not know are the oldest."""
        entries = self._index.entries
        return [
            Kept(
                key=path.name,
                size_bytes=path.stat().st_size,
                used=entries[path.name].used if path.name in entries else -1,
                is_pinned=self._held[path.name] > 0,
            )
            for path in self._models.iterdir()
            if not path.name.startswith(".")
        ]

    def _note_use(self, model: ModelRef) -> None:
        with self._guard:
            for ref in model.files:
                self._index.use(ref.sha256)
            try:
                self._index.save()
            except OSError as error:
                raise store_failed(error) from error

    def _budget(self, left_share: float) -> int:
        """Bytes for all files: what was set, else the disk as it is now less that share."""
        disk = shutil.disk_usage(self._models)
        if self._budget_bytes is not None:
            return min(self._budget_bytes, self.used_bytes + disk.free)
        rest = max(_LEFT_FREE_BYTES, int(disk.total * left_share))
        return max(0, self.used_bytes + disk.free - rest)

    def _build_view(self, view: Path, sources: dict[PurePosixPath, Path]) -> None:
        temporary = temporary_name(view)
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
