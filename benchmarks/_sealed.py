"""The parts of `crypto` that go through the product. Import it once Django has its settings."""

from __future__ import annotations

import http.client
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from django.test import Client

from benchmarks._files import PIECE_BYTES
from benchmarks._report import Figure, load, say
from launcher.ports import HOST
from studio.core import storage
from studio.core.scoping import organization_scope, system_scope
from workspaces.models import Artifact, ArtifactKind, Workspace
from workspaces.services import rotation as service
from workspaces.services.artifacts import read_all, read_range, store_bytes
from workspaces.services.keys import data_key, new_data_key
from workspaces.signing import media_url

LARGE_BYTES = 1 << 30
RANGE_BYTES = 1 << 20
PICTURES = {"64k": 1 << 16, "1m": 1 << 20, "16m": 1 << 24}
ROWS = 10_000
Get = Callable[[str], int]


def range_reads(reads: int) -> dict[str, Figure]:
    """1 MiB at random places of a sealed 1 GiB, row and keys included; and of the file itself."""
    artifact = _stored(bytes(LARGE_BYTES))
    path = Path(storage.store().path(artifact.storage_key))
    say(f"stored {path.stat().st_size} bytes")
    places = random.Random(1)  # noqa: S311  # places in a file
    figures: dict[str, Figure] = {}
    for name, is_cold in (("", False), ("cold_", True)):
        ours, plain = list[float](), list[float]()
        for number in range(reads):
            start = places.randrange(LARGE_BYTES - RANGE_BYTES)
            reads_of_both = [(ours, _read_sealed), (plain, _read_file)]
            for taken, read in reads_of_both if number % 2 else reversed(reads_of_both):
                if is_cold:
                    _forget(path)
                began = time.perf_counter()
                content = read(artifact.pk, path, start)
                taken.append(time.perf_counter() - began)
                assert len(content) == RANGE_BYTES
                assert read is not _read_sealed or not any(content[::4096])
        figures |= {
            f"range_read_{name}ms": median(ours) * 1000,
            f"range_read_{name}ms_p95": quantiles(ours, n=20)[-1] * 1000,
            f"range_plain_{name}ms": median(plain) * 1000,
        }
    say(f"ranges: {figures}, load {load()}")
    return figures


def _read_sealed(artifact_id: str, _path: Path, start: int) -> bytes:
    with system_scope():
        artifact = Artifact.objects.select_related("workspace").get(pk=artifact_id)
        return b"".join(read_range(artifact, start, start + RANGE_BYTES))


def _read_file(_artifact_id: str, path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(RANGE_BYTES)


def _forget(path: Path) -> None:
    """Let the system drop the file from memory, so that the next read goes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def deliveries(port: int, files: Path, times: int) -> dict[str, Figure]:
    """Pictures at their addresses and plain files of the same size, by turns."""
    figures: dict[str, Figure] = {}
    with _over_http(port) as get_over_http:
        for name, size in PICTURES.items():
            content = os.urandom(size)
            (files / name).write_bytes(content)
            artifact = _stored(content)
            urls = media_url(artifact), f"/plain/{name}"
            few = times if size <= PIECE_BYTES else times // 4
            figures |= _compare(f"delivery{{}}_{name}", get_over_http, urls, size, few)
            if size <= PIECE_BYTES:  # Django's own client cannot stream what is asynchronous
                figures |= _compare(f"view{{}}_{name}", _in_process(), urls, size, times)
                figures[f"opening_ms_{name}"] = _opening(artifact.pk, content, times)
    say(f"delivery: {figures}, load {load()}")
    return figures | {"delivery_ratio": figures["delivery_ratio_1m"]}


def _compare(
    name: str, get: Get, urls: tuple[str, str], size: int, times: int
) -> dict[str, Figure]:
    ours, plain = list[float](), list[float]()
    for number in range(times + 3):
        both = list(zip((ours, plain), urls, strict=True))
        for taken, url in both if number % 2 else reversed(both):
            began = time.perf_counter()
            got = get(url)
            taken.append(time.perf_counter() - began)
            assert got == size, f"{got} bytes of {url.partition('?')[0]}"
    return {
        name.format("_ms"): median(ours[3:]) * 1000,
        name.format("_plain_ms"): median(plain[3:]) * 1000,
        name.format("_ratio"): median(_quotients(ours[3:], plain[3:])),
    }


def _opening(artifact_id: str, content: bytes, times: int) -> float:
    """The part of a delivery that is encryption: both keys, the file, its segments."""
    taken = list[float]()
    with system_scope():
        artifact = Artifact.objects.select_related("workspace").get(pk=artifact_id)
    for _ in range(times):
        began = time.perf_counter()
        opened = read_all(artifact)
        taken.append(time.perf_counter() - began)
        assert opened == content
    return median(taken) * 1000


def _quotients(ours: Sequence[float], reference: Sequence[float]) -> list[float]:
    return [own / other for own, other in zip(ours, reference, strict=True)]


def _in_process() -> Get:
    client = Client(headers={"host": HOST})

    def get(url: str) -> int:
        response = client.get(url)
        return len(response.content) if response.status_code == 200 else 0

    return get


@contextmanager
def _over_http(port: int) -> Iterator[Get]:
    """One connection that is kept, as a browser does."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)

    def get(url: str) -> int:
        connection.request("GET", url)
        response = connection.getresponse()
        content = response.read()
        return len(content) if response.status == 200 else 0

    try:
        yield get
    finally:
        connection.close()


def rotation(times: int) -> dict[str, Figure]:
    """A new key for a workspace of 10,000 sealed rows, and what one key of a row takes."""
    with system_scope():
        workspace = Workspace.objects.create(
            organization_id=_room().organization_id, name="Many rows"
        )
        _, wrapped = new_data_key(workspace)
        began = time.perf_counter()
        for _ in range(ROWS):
            data_key(workspace, wrapped)
        each = (time.perf_counter() - began) / ROWS
        rows = [
            Artifact(
                organization_id=workspace.organization_id,
                workspace=workspace,
                kind=ArtifactKind.PICTURE.value,
                wrapped_key=new_data_key(workspace)[1],
            )
            for _ in range(ROWS)
        ]
        Artifact.objects.bulk_create(rows, batch_size=1_000)
        taken = list[float]()
        for _ in range(times):
            began = time.perf_counter()
            moved = service.rotate_workspace_key(workspace.pk)
            taken.append(time.perf_counter() - began)
            assert moved == ROWS, f"{moved} rows moved"
            Workspace.objects.filter(pk=workspace.pk).update(retiring_key=None)
    per_s = ROWS / median(taken)
    say(f"rotation: {per_s:.0f} rows a second, load {load()}")
    return {"rotation_rows_per_s": per_s, "data_key_us": each * 1e6}


def _room() -> Workspace:
    with system_scope():
        return Workspace.objects.order_by("pk")[0]


def _stored(content: bytes) -> Artifact:
    room = _room()
    with organization_scope(room.organization_id):
        return store_bytes(
            room,
            content,
            kind=ArtifactKind.PICTURE,
            media_type="image/png",
            width=1,
            height=1,
        )
