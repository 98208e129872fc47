"""Model files on disk: verified, fetched again when broken, never outside their folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from safetensors.numpy import load_file
from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.files import FileCache
from gpuagent.cache.places import PlaceRefusedError, Places
from gpuagent.cache.residency import Residency
from gpuagent.cache.sources import Sources
from gpuagent.cache.writing import write_atomically
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.registry import measure_parts, tile_side
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.runner.compute import Compute
from gpuagent.runner.models import Models

from .support import HOUSE, TOKEN, model_ref


class CountingSources(Sources):
    """Real sources that remember what was read."""

    opened: int = 0

    @override
    @contextmanager
    def open(self, url: str) -> Iterator[Iterator[bytes]]:
        self.opened += 1
        with super().open(url) as chunks:
            yield chunks


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Where models come from: a small one of two files."""
    folder = tmp_path / "origin"
    (folder / "model" / "unet").mkdir(parents=True)
    (folder / "model" / "unet" / "config.json").write_text("{}")
    (folder / "model" / "weights.safetensors").write_bytes(bytes(range(256)) * 10_000)
    return folder


@pytest.fixture
def ref(origin: Path) -> ModelRef:
    """That model."""
    return model_ref(origin / "model")


@pytest.fixture
def sources(origin: Path) -> CountingSources:
    """Reads below `origin`."""
    places = Places(studio_url="http://127.0.0.1:9", token=TOKEN, models_root=origin)
    return CountingSources(places, httpx.Client(trust_env=False))


@pytest.fixture
def cache(tmp_path: Path, sources: CountingSources) -> FileCache:
    """An empty cache."""
    return FileCache(tmp_path / "cache", sources)


def failure_of(call: Callable[[], object]) -> AttemptFailedError:
    with pytest.raises(AttemptFailedError) as caught:
        call()
    return caught.value


def test_folder_of_a_model_holds_its_files(cache: FileCache, ref: ModelRef, origin: Path) -> None:
    folder = cache.folder(ref)
    for file in ref.files:
        assert (folder / file.path).read_bytes() == (origin / "model" / file.path).read_bytes()


def test_files_are_fetched_once(cache: FileCache, ref: ModelRef, sources: CountingSources) -> None:
    cache.folder(ref)
    cache.folder(ref)
    assert sources.opened == len(ref.files)


def test_file_that_lost_its_end_is_fetched_again(
    cache: FileCache, ref: ModelRef, tmp_path: Path, origin: Path
) -> None:
    folder = cache.folder(ref)
    large = max(ref.files, key=lambda f: f.size_bytes)
    with (tmp_path / "cache" / "models" / large.sha256).open("r+b") as file:
        file.truncate(100)
    assert (folder / large.path).stat().st_size == 100
    assert cache.folder(ref) == folder
    assert (folder / large.path).read_bytes() == (origin / "model" / large.path).read_bytes()


def test_source_that_is_not_what_its_hash_says_is_corrupt(
    cache: FileCache, ref: ModelRef, origin: Path, tmp_path: Path, sources: CountingSources
) -> None:
    path = origin / "model" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))
    error = failure_of(lambda: cache.folder(ref))
    assert error.code is FailureCode.MODEL_CORRUPT
    assert sources.opened == 1 + 2  # the other file, and this one twice
    left = {p.name for p in (tmp_path / "cache" / "models").iterdir()}
    assert left == {f.sha256 for f in ref.files if f.path == "unet/config.json"}


def test_longer_source_is_given_up_early(cache: FileCache, ref: ModelRef, origin: Path) -> None:
    with (origin / "model" / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    assert failure_of(lambda: cache.folder(ref)).code is FailureCode.MODEL_CORRUPT


def test_source_that_is_gone_is_unreadable(cache: FileCache, ref: ModelRef, origin: Path) -> None:
    (origin / "model" / "weights.safetensors").unlink()
    error = failure_of(lambda: cache.folder(ref))
    assert error.code is FailureCode.MODEL_UNREADABLE
    assert str(origin) not in repr(error.data)


def test_broken_transfer_is_repeated_once(ref: ModelRef, origin: Path, tmp_path: Path) -> None:
    # Given a server that sends each file broken the first time
    seen: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (origin / "model" / self.path.lstrip("/")).read_bytes()
            if self.path not in seen:
                seen.add(self.path)
                data = b"\0" + data[1:]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        @override
        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    files = tuple(replace(f, url=f"{url}/{f.path}") for f in ref.files)
    sources = Sources(Places(studio_url=url, token=TOKEN), httpx.Client(trust_env=False))
    # Then the model is whole all the same
    folder = FileCache(tmp_path / "cache", sources).folder(replace(ref, files=files))
    server.shutdown()
    assert (folder / "unet" / "config.json").read_text() == "{}"


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "a/../../b", "", "a\\..\\b", "C:/x", "a\x00b", ".."]
)
def test_file_name_that_leads_outside_is_refused(
    cache: FileCache, ref: ModelRef, path: str
) -> None:
    files = (replace(ref.files[0], path=path),)
    error = failure_of(lambda: cache.folder(replace(ref, files=files)))
    assert error.code is FailureCode.MODEL_UNREADABLE


@pytest.mark.parametrize("digest", ["../x", "A" * 64, "a" * 63, ""])
def test_digest_that_is_none_is_refused(cache: FileCache, ref: ModelRef, digest: str) -> None:
    for bad in (
        replace(ref, digest=digest),
        replace(ref, files=(replace(ref.files[0], sha256=digest),)),
    ):
        error = failure_of(lambda bad=bad: cache.folder(bad))  # type: ignore[misc]  # bound now
        assert error.code is FailureCode.MODEL_UNREADABLE


def test_source_outside_the_models_folder_is_refused(
    cache: FileCache, ref: ModelRef, origin: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (origin / "link").symlink_to(secret)
    for url in (secret.as_uri(), (origin / "link").as_uri(), f"{origin.as_uri()}/../secret"):
        files = (replace(ref.files[0], url=url),)
        error = failure_of(lambda files=files: cache.folder(replace(ref, files=files)))  # type: ignore[misc]  # bound now
        assert error.code is FailureCode.MODEL_UNREADABLE


def test_what_a_killed_agent_left_is_cleared(tmp_path: Path, sources: CountingSources) -> None:
    FileCache(tmp_path / "cache", sources)
    (tmp_path / "cache" / "models" / ".tmp-1").write_bytes(b"half")
    (tmp_path / "cache" / "views" / ".tmp-2").mkdir()
    FileCache(tmp_path / "cache", sources)
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


def test_write_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a" / "file", b"first")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a" / "file", b"second")
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "a").iterdir()] == [("file", b"first")]


def test_full_disk_is_told_as_such(
    cache: FileCache, ref: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    error = failure_of(lambda: cache.folder(ref))
    assert (error.code, error.data) == (FailureCode.STORE_FAILED, {"reason": "disk full"})


def test_places_give_the_token_to_the_studio_only() -> None:
    places = Places(studio_url="https://studio.example", token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert places.headers(places.absolute("/agent/v1/store/art_1")) == bearer
    for url in (
        "https://bucket.example/agent/v1/x?X-Amz-Signature=1",
        "http://studio.example/agent/v1/x",
        "https://studio.example.evil/agent/v1/x",
        "https://studio.example/media/x",
    ):
        assert places.headers(url) == {}
    assert TOKEN not in repr(places)


def test_places_write_below_the_store_only(tmp_path: Path) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    store.mkdir()
    outside.mkdir()
    (store / "way-out").symlink_to(outside)
    places = Places(studio_url="http://x", token=TOKEN, store_root=store, models_root=outside)
    assert places.writable((store / "a" / "b").as_uri()) == store / "a" / "b"
    for url in (
        (outside / "b").as_uri(),
        (store / "way-out" / "b").as_uri(),
        f"{store.as_uri()}/../outside/b",
        f"{store.as_uri()}/%2e%2e/outside/b",
        f"file://elsewhere{store}/b",
        "relative/b",
    ):
        with pytest.raises(PlaceRefusedError):
            places.writable(url)


def test_places_without_a_store_write_nowhere(tmp_path: Path) -> None:
    with pytest.raises(PlaceRefusedError):
        Places(studio_url="http://x", token=TOKEN).writable((tmp_path / "x").as_uri())


def test_least_recently_used_model_goes_first() -> None:
    freed: list[str] = []
    residency: Residency[str] = Residency(10, on_evict=lambda digest, _value: freed.append(digest))
    residency.put("a", "A", 4)
    residency.put("b", "B", 4)
    assert residency.get("a") == "A"
    residency.put("c", "C", 4)
    assert residency.warm == ("a", "c")
    assert (residency.get("b"), residency.used_bytes, freed) == (None, 8, ["b"])


def test_model_larger_than_the_budget_still_stays_alone() -> None:
    residency: Residency[str] = Residency(10)
    residency.put("a", "A", 4)
    residency.put("large", "L", 40)
    assert residency.warm == ("large",)
    assert residency.shrink(0, keep="large") == 0


def test_weights_are_counted_from_headers(engine: Engine, house: StableDiffusion15) -> None:
    parts = measure_parts(HOUSE, engine)
    stored = sum(
        array.size
        for part in ("unet", "vae", "text_encoder")
        for path in (HOUSE / part).glob("*.safetensors")
        for array in load_file(path).values()
    )
    assert parts.total == stored * 4
    assert parts.total == pytest.approx(house.weights_bytes, rel=0.01)
    assert parts.denoiser == pytest.approx(house.part_bytes["unet"], rel=0.01)
    assert tile_side(HOUSE) == 128


@pytest.fixture
def house_models(tmp_path: Path, engine: Engine) -> tuple[Models, Path]:
    """Models from the house folder, and the folder of their cached files."""
    places = Places(studio_url="http://127.0.0.1:9", token=TOKEN, models_root=HOUSE.parent)
    cache = FileCache(tmp_path / "cache", Sources(places, httpx.Client(trust_env=False)))
    return Models(cache, engine, Compute()), tmp_path / "cache" / "models"


def test_cached_weights_that_do_not_load_are_fetched_again(
    house_models: tuple[Models, Path], house_ref: ModelRef
) -> None:
    # Given a verified file whose header the disk has lost, at full length
    models, folder = house_models
    models.fetch(house_ref)
    unet = max(house_ref.files, key=lambda f: f.size_bytes)
    with (folder / unet.sha256).open("r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 64)
    # Then it loads all the same
    assert models.loaded(house_ref).weights_bytes > 0
    assert models.warm == (house_ref.digest,)


def test_files_that_are_no_model_are_unreadable(
    house_models: tuple[Models, Path], house_ref: ModelRef
) -> None:
    models, _ = house_models
    without = tuple(f for f in house_ref.files if f.path != "unet/config.json")
    error = failure_of(lambda: models.loaded(replace(house_ref, files=without, digest="c" * 64)))
    assert error.code is FailureCode.MODEL_UNREADABLE


def test_picture_that_does_not_fit_is_refused_with_sizes(
    tmp_path: Path, engine: Engine, house_ref: ModelRef
) -> None:
    places = Places(studio_url="http://127.0.0.1:9", token=TOKEN, models_root=HOUSE.parent)
    cache = FileCache(tmp_path / "cache", Sources(places, httpx.Client(trust_env=False)))
    models = Models(cache, replace(engine, memory_bytes=400 * 1024**2), Compute())
    recipe = Recipe(model=house_ref.digest, prompt="a mug", width=1024, height=1024)
    error = failure_of(lambda: models.plan(house_ref, recipe))
    assert error.code is FailureCode.DOES_NOT_FIT
    assert error.data["available_bytes"] == 400 * 1024**2
    side = int(str(error.data["largest_side"]))
    assert 128 <= side < 1024
    models.plan(house_ref, replace(recipe, width=side, height=side))
