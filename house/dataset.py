"""The training set: drawings, what they show, and their captions, the same on every machine.

Picture `i` is drawn from its own random stream, so that the set does not depend on how many
processes draw it.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from house.drawing.captions import caption
from house.drawing.render import Pixels, draw
from house.drawing.specs import Item, Spec, random_spec

SIDE = 128
_CHUNK = 250


@dataclass(frozen=True)
class Dataset:
    """Pictures `[n, 128, 128, 3]` and their specs; the last `held_out` are for measuring only."""

    pictures: Pixels
    specs: list[Spec]
    held_out: int

    @property
    def trained(self) -> int:
        """How many pictures, from the first, training may see."""
        return len(self.specs) - self.held_out

    def some(self, random: np.random.Generator, count: int) -> slice:
        """`count` neighbours that training may see: as good as scattered ones, and read at once."""
        start = int(random.integers(0, self.trained - count + 1))
        return slice(start, start + count)


def picture(seed: int, index: int) -> tuple[Pixels, Spec]:
    """Picture `index` of the set that grows from `seed`, and what it shows."""
    rng = np.random.default_rng((seed, index))
    spec = random_spec(rng)
    return draw(spec, rng, SIDE), spec


def captions(specs: list[Spec], each: int, seed: int) -> list[list[str]]:
    """`each` captions for every spec."""
    rng = np.random.default_rng((seed, 0xCA))
    return [[caption(spec, rng) for _ in range(each)] for spec in specs]


def build(folder: Path, *, seed: int, count: int, processes: int = 2) -> None:
    """Draw `count` pictures into `folder`, unless that very set lies there already."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"seed": seed, "count": count, "first": digest(seed, 64)}
    done = folder / "recipe.json"
    if done.exists() and json.loads(done.read_text()) == recipe:
        return
    done.unlink(missing_ok=True)
    pictures = np.lib.format.open_memmap(
        folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3)
    )
    specs: list[Spec] = []
    starts = range(0, count, _CHUNK)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for start, chunk in zip(
            starts, pool.imap(partial(_chunk, seed, count), starts), strict=True
        ):
            pictures[start : start + len(chunk[1])] = chunk[0]
            specs.extend(chunk[1])
            if start % (40 * _CHUNK) == 0:
                print(f"drawn {start + len(chunk[1]):,} of {count:,}", flush=True)
    pictures.flush()
    (folder / "specs.json").write_text(json.dumps([asdict(spec) for spec in specs]))
    done.write_text(json.dumps(recipe))


def load(folder: Path, held_out: int) -> Dataset:
    """The set that `build` left in `folder`; the pictures stay on disk until they are read.

    Raises:
        SystemExit: none lies there, or one that was not drawn to its end.
    """
    if not (folder / "recipe.json").exists():
        raise SystemExit(f"There is no finished set of drawings in {folder}: run `data` first.")
    specs = [spec_from(row) for row in json.loads((folder / "specs.json").read_text())]
    return Dataset(np.load(folder / "pictures.npy", mmap_mode="r"), specs, held_out)


def spec_from(row: dict[str, object]) -> Spec:
    """A spec as `dataclasses.asdict` wrote it."""
    items: Any = row["items"]
    return Spec(**{**row, "items": tuple(Item(**item) for item in items)})  # type: ignore[arg-type]  # fields by name


def digest(seed: int, count: int) -> str:
    """A fingerprint of the drawing program: SHA-256 over the first pictures of a seed."""
    total = hashlib.sha256()
    for index in range(count):
        pixels, spec = picture(seed, index)
        total.update(pixels.tobytes())
        total.update(json.dumps(asdict(spec), sort_keys=True).encode())
    return total.hexdigest()


def _chunk(seed: int, count: int, start: int) -> tuple[npt.NDArray[np.uint8], list[Spec]]:
    drawn = [picture(seed, index) for index in range(start, min(start + _CHUNK, count))]
    return np.stack([pixels for pixels, _ in drawn]), [spec for _, spec in drawn]
