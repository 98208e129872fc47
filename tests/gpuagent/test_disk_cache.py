"""The disk cache: its budget, who goes and who never does, restarts; large files in parts."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from typing_extensions import override

from gpuagent.cache import fetching
from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelFileRef, ModelRef
from gpuagent.protocol.taxonomy import Architecture, AssetKind

from .support import TOKEN

SIZE = 100_000
GIB = 1024**3


def ref_of(name: str, *urls_and_data: tuple[str, bytes]) -> ModelRef:
    files = tuple(
        ModelFileRef(
            path=f"unet/part-{number}.safetensors",
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            url=url,
        )
        for number, (url, data) in enumerate(urls_and_data)
    )
    return ModelRef(
        version_id="ver_1",
        name=name,
        digest=hashlib.sha256(name.encode()).hexdigest(),
        architecture=Architecture.SD15,
        kind=AssetKind.CHECKPOINT,
        files=files,
    )


class Disk:
    """A folder of sources and a cache over it, which can be started anew."""

    def __init__(self, folder: Path) -> None:
        self.origin = folder / "origin"
        self.root = folder / "cache"
        self.origin.mkdir()
        places = Places(studio_url="http://127.0.0.1:9", token=TOKEN, models_root=self.origin)
        self.sources = Sources(places, httpx.Client(trust_env=False))

    def model(self, name: str, *contents: str) -> ModelRef:
        """A model of files of 100,000 bytes; equal contents are one file."""
        made = []
        for content in contents or (name,):
            data = hashlib.shake_256(content.encode()).digest(SIZE)
            path = self.origin / content
            path.write_bytes(data)
            made.append((path.as_uri(), data))
        return ref_of(name, *made)

    def start(self, budget: int | None) -> FileCache:
        return FileCache(self.root, self.sources, budget_bytes=budget)

    def holds(self, ref: ModelRef) -> bool:
        here = {path.name for path in (self.root / "models").iterdir()}
        return {file.sha256 for file in ref.files} <= here


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def disk_with(free: int, *, total: int) -> Callable[[object], object]:
    """A `shutil.disk_usage` that says these bytes of every disk."""
    return lambda _path: SimpleNamespace(total=total, used=total - free, free=free)


def failure_of(call: Callable[[], object]) -> AttemptFailedError:
    with pytest.raises(AttemptFailedError) as caught:
        call()
    return caught.value


def test_least_recently_used_model_makes_room(disk: Disk) -> None:
    cache = disk.start(2 * SIZE)
    first, second, third = (disk.model(name) for name in ("first", "second", "third"))
    cache.folder(first)
    cache.folder(second)
    cache.folder(first)
    folder = cache.folder(third)
    assert (disk.holds(first), disk.holds(second), disk.holds(third)) == (True, False, True)
    assert cache.used_bytes == 2 * SIZE
    # and nothing links to what went, so that its bytes are free
    assert {path.name for path in (disk.root / "views").iterdir()} == {first.digest, third.digest}
    assert next(folder.rglob("*.safetensors")).stat().st_nlink == 2


def test_order_of_use_survives_a_restart(disk: Disk) -> None:
    first, second, third = (disk.model(name) for name in ("first", "second", "third"))
    cache = disk.start(2 * SIZE)
    for ref in (first, second, first):
        cache.folder(ref)
    disk.start(2 * SIZE).folder(third)
    assert (disk.holds(first), disk.holds(second)) == (True, False)


def test_nothing_is_fetched_or_hashed_again_after_a_restart(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = disk.model("first")
    disk.start(SIZE).folder(ref)
    (disk.origin / "first").unlink()
    monkeypatch.setattr("gpuagent.cache.files.file_hash", lambda _path: "not asked for")
    assert disk.start(SIZE).folder(ref).is_dir()


def test_lost_index_costs_a_hash_and_no_fetch(disk: Disk) -> None:
    ref = disk.model("first")
    disk.start(SIZE).folder(ref)
    (disk.origin / "first").unlink()
    for content in (b"", b"{", b"[]", b'{"x": {}}', b'{"x": 3}'):
        (disk.root / "index.json").write_bytes(content)
        assert disk.start(SIZE).folder(ref).is_dir()


def test_corrupt_file_is_noticed_deleted_and_fetched_again(disk: Disk) -> None:
    ref = disk.model("first")
    cache = disk.start(SIZE)
    view = cache.folder(ref)
    assert cache.take_source(ref.digest) == "store"
    assert cache.take_source(ref.digest) == "disk"
    path = disk.root / "models" / ref.files[0].sha256
    for running in (cache, disk.start(SIZE)):
        with path.open("r+b") as file:
            file.seek(500)
            file.write(b"broken")
        running.folder(ref)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == ref.files[0].sha256
        assert (view / ref.files[0].path).samefile(path)
        assert running.take_source(ref.digest) == "store"


def test_corrupt_file_whose_source_is_corrupt_too_is_a_clear_failure(disk: Disk) -> None:
    ref = disk.model("first")
    cache = disk.start(SIZE)
    cache.folder(ref)
    for path in (disk.root / "models" / ref.files[0].sha256, disk.origin / "first"):
        path.write_bytes(b"\0" * SIZE)
    error = failure_of(lambda: cache.folder(ref))
    assert (error.code, error.data) == (
        FailureCode.MODEL_CORRUPT,
        {"sha256": ref.files[0].sha256[:16]},
    )
    assert not disk.holds(ref)


def test_what_work_holds_is_never_let_go(disk: Disk) -> None:
    cache = disk.start(2 * SIZE)
    first, second, third = (disk.model(name) for name in ("first", "second", "third"))
    with cache.hold(first):
        cache.folder(first)
        cache.folder(second)
        cache.folder(third)
        assert (disk.holds(first), disk.holds(second)) == (True, False)
        with cache.hold(third):
            error = failure_of(lambda: cache.folder(second))
            assert error.code is FailureCode.STORE_FAILED
            assert error.data == {
                "reason": "cache too small",
                "needed_bytes": SIZE,
                "available_bytes": 0,
            }
    cache.folder(second)


def test_files_of_one_model_do_not_push_each_other_out(disk: Disk) -> None:
    cache = disk.start(2 * SIZE)
    cache.folder(disk.model("old", "a", "b"))
    three = disk.model("new", "c", "d", "e")
    assert failure_of(lambda: cache.folder(three)).data["reason"] == "cache too small"
    assert cache.folder(disk.model("new", "c", "d")).is_dir()


def test_shared_file_counts_once_and_goes_from_both(disk: Disk) -> None:
    cache = disk.start(3 * SIZE)
    first, second = disk.model("first", "shared", "x"), disk.model("second", "shared", "y")
    cache.folder(first)
    cache.folder(second)
    assert cache.used_bytes == 3 * SIZE
    cache.folder(disk.model("third", "p", "q", "r"))
    assert [path.name for path in (disk.root / "views").iterdir()] == [disk.model("third").digest]


def test_full_disk_lets_old_models_go_before_it_gives_up(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk with room for one more file beside the two that lie there
    first, second, third = (disk.model(name) for name in ("first", "second", "third"))
    cache = disk.start(100 * SIZE)
    cache.folder(first)
    usage = disk_with(SIZE // 2, total=10 * SIZE)
    monkeypatch.setattr("gpuagent.cache.files.shutil.disk_usage", usage)
    cache.folder(second)
    assert (disk.holds(first), disk.holds(second)) == (False, True)
    with cache.hold(second):
        error = failure_of(lambda: cache.folder(third))
    assert error.data["reason"] == "disk full"
    assert error.data["needed_bytes"] == SIZE


def test_old_models_go_before_the_share_of_others_on_the_disk_does(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk whose free bytes are just the twentieth that is left to others
    first, second = disk.model("first"), disk.model("second")
    cache = disk.start(None)
    cache.folder(first)
    usage = disk_with(10 * GIB, total=200 * GIB)
    monkeypatch.setattr("gpuagent.cache.files.shutil.disk_usage", usage)
    cache.folder(second)
    assert (disk.holds(first), disk.holds(second)) == (False, True)


def test_nearly_full_disk_still_takes_what_work_needs(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given less than the share of others, but more than the gibibyte that always stays
    first, second = disk.model("first"), disk.model("second")
    cache = disk.start(None)
    usage = disk_with(GIB + SIZE, total=200 * GIB)
    monkeypatch.setattr("gpuagent.cache.files.shutil.disk_usage", usage)
    cache.folder(first)
    assert disk.holds(first)
    usage = disk_with(GIB - 1, total=200 * GIB)
    monkeypatch.setattr("gpuagent.cache.files.shutil.disk_usage", usage)
    with cache.hold(first):
        error = failure_of(lambda: cache.folder(second))
    assert error.data["reason"] == "disk full"
    assert disk.holds(first)


class RangeServer:
    """Serves one file, in parts if it is asked for them, and counts who asks at once."""

    def __init__(self, data: bytes, *, has_ranges: bool = True) -> None:
        self.data = data
        self.has_ranges = has_ranges
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.break_next = 0
        self.gate = threading.Barrier(fetching.PARTS_AT_ONCE)
        self.lock = threading.Lock()
        handler = type("Handler", (_RangeHandler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _RangeHandler(BaseHTTPRequestHandler):
    owner: RangeServer

    def do_GET(self) -> None:
        owner, wanted = self.owner, self.headers.get("Range", "")
        with owner.lock:
            owner.asked.append(wanted)
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
            broken = owner.break_next > 0 and wanted not in ("", "bytes=0-0")
            owner.break_next -= int(broken)
        data, status = owner.data, 200
        if wanted and owner.has_ranges:
            start, end = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
            data, status = owner.data[start : end + 1], 206
            if end > start and not owner.gate.broken:
                with contextlib.suppress(threading.BrokenBarrierError):
                    owner.gate.wait(2)  # until as many ask as may
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(owner.data)}")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if broken else data)
        self.close_connection = True
        with owner.lock:
            owner.at_once -= 1

    @override
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 64 KiB, so that a test need not move gigabytes."""
    monkeypatch.setattr(fetching, "PARTS_FROM_BYTES", 256 * 1024)
    monkeypatch.setattr(fetching, "PART_BYTES", 64 * 1024)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    running = RangeServer(hashlib.shake_256(b"large").digest(512 * 1024 + 77))
    yield running
    running.close()


def cache_of(tmp_path: Path, url: str) -> FileCache:
    sources = Sources(Places(studio_url=url, token=TOKEN), httpx.Client(trust_env=False))
    return FileCache(tmp_path / "cache", sources, budget_bytes=10**7)


@pytest.mark.usefixtures("small_parts")
def test_large_file_comes_in_parts_at_once_and_whole(tmp_path: Path, server: RangeServer) -> None:
    ref = ref_of("large", (f"{server.url}/weights", server.data))
    folder = cache_of(tmp_path, server.url).folder(ref)
    assert (folder / ref.files[0].path).read_bytes() == server.data
    assert server.most_at_once == fetching.PARTS_AT_ONCE
    assert len(server.asked) == 1 + 9  # a look, and the parts
    assert "" not in server.asked


@pytest.mark.usefixtures("small_parts")
def test_part_that_breaks_off_is_taken_up_where_it_broke(
    tmp_path: Path, server: RangeServer
) -> None:
    server.break_next = 3
    ref = ref_of("large", (f"{server.url}/weights", server.data))
    folder = cache_of(tmp_path, server.url).folder(ref)
    assert (folder / ref.files[0].path).read_bytes() == server.data
    assert len(server.asked) == 1 + 9 + 3
    middle = [w for w in server.asked if int(w.split("=")[1].split("-")[0]) % (64 * 1024)]
    assert len(middle) == 3


@pytest.mark.usefixtures("small_parts")
def test_server_without_parts_is_read_as_a_whole(tmp_path: Path, server: RangeServer) -> None:
    server.has_ranges = False
    ref = ref_of("large", (f"{server.url}/weights", server.data))
    folder = cache_of(tmp_path, server.url).folder(ref)
    assert (folder / ref.files[0].path).read_bytes() == server.data
    assert server.asked == ["bytes=0-0", ""]


@pytest.mark.usefixtures("small_parts")
def test_parts_of_another_file_are_corrupt(tmp_path: Path, server: RangeServer) -> None:
    ref = ref_of("large", (f"{server.url}/weights", server.data))
    server.data = server.data[:-1] + bytes([server.data[-1] ^ 1])
    error = failure_of(lambda: cache_of(tmp_path, server.url).folder(ref))
    assert error.code is FailureCode.MODEL_CORRUPT
    assert not list((tmp_path / "cache" / "models").iterdir())
