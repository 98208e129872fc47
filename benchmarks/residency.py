"""How long a model takes to be ready from each place: store, disk, host memory, device.

The house model, through the agent's own cache and loaders, in one process. The store is an HTTP
server on this machine, so its figure is the least that a store can cost. On a CPU, host memory and
device are one memory: coming back from it copies nothing.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import httpx
from typing_extensions import override

from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.engine import Engine, detect_engine
from gpuagent.planning.memory import OVERHEAD_BYTES
from gpuagent.protocol.messages import ModelRef
from gpuagent.runner.compute import Compute
from gpuagent.runner.models import Models
from house.recipe import MODEL
from tests.gpuagent.support import model_ref

PLACES = ("store", "disk", "host", "gpu")


class _Quiet(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        """No line per file."""


def run(times: int) -> dict[str, Figure]:
    """Median seconds from each place, and how many times longer than from host memory."""
    before = load()
    engine = detect_engine()
    seconds: dict[str, list[float]] = {place: [] for place in PLACES}
    with tempfile.TemporaryDirectory(prefix="studio-residency-") as folder:
        root = Path(folder)
        refs, close = _serve(root / "store")
        try:
            for number in range(times + 1):
                found = _measure(engine, root / f"cache-{number}", refs)
                say(", ".join(f"{place} {found[place]:.4f} s" for place in PLACES))
                for place in PLACES if number else ():  # the first time pays for imports
                    seconds[place].append(found[place])
        finally:
            close()
    figures: dict[str, Figure] = {f"{place}_s": median(seconds[place]) for place in PLACES}
    host = median(seconds["host"])
    return {
        **figures,
        "store_to_host_ratio": median(seconds["store"]) / host,
        "disk_to_host_ratio": median(seconds["disk"]) / host,
        "model_mib": round(sum(f.size_bytes for f in refs[0].files) / 1024**2, 1),
        "threads": engine.threads,
        "load_before": before,
        "load_after": load(),
    }


def _measure(engine: Engine, cache: Path, refs: tuple[ModelRef, ModelRef]) -> dict[str, float]:
    """A model is had from each place in turn; another pushes it from the device."""
    places = Places(studio_url=refs[0].files[0].url, token="")
    http = httpx.Client(trust_env=False)
    weights = sum(f.size_bytes for f in refs[0].files if f.path.endswith(".safetensors"))
    small = replace(engine, memory_bytes=OVERHEAD_BYTES + int(weights * 1.2))

    def start(host_bytes: int) -> Models:
        return Models(
            FileCache(cache, Sources(places, http)), small, Compute(), host_bytes=host_bytes
        )

    found: dict[str, float] = {}
    cold = start(0)
    found["store"] = _seconds(lambda: cold.loaded(refs[0]))
    again = start(2 * weights)
    found["disk"] = _seconds(lambda: again.loaded(refs[0]))
    again.loaded(refs[1])
    found["host"] = _seconds(lambda: again.loaded(refs[0]))
    found["gpu"] = _seconds(lambda: again.loaded(refs[0]))
    loads = again.ledger.to_wire()["loads"]
    assert loads == {"gpu": 1, "host": 1, "disk": 1, "store": 1}, loads
    http.close()
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _serve(folder: Path) -> tuple[tuple[ModelRef, ModelRef], Callable[[], None]]:
    """The house model twice, as two models, behind HTTP."""
    refs = []
    for number in range(2):
        own = folder / str(number)
        shutil.copytree(MODEL, own)
        (own / "number.txt").write_text(str(number))
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    for number in range(2):
        ref = model_ref(folder / str(number))
        files = tuple(replace(f, url=f"{url}/{number}/{f.path}") for f in ref.files)
        refs.append(replace(ref, files=files))
    return (refs[0], refs[1]), server.shutdown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="15 times instead of 5")
    given = parser.parse_args(arguments)
    clean_up_on_signals()
    finish(run(15 if given.full else 5))


if __name__ == "__main__":
    main()
