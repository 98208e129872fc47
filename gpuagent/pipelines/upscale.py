"""Enlarging a picture with a network, tile by tile: any size fits, and no seam can be seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from typing_extensions import override

from gpuagent.pipelines.encode import PREVIEW_SIDE, Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.esrgan import make_network
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.preview import Floats, LatentColors
from gpuagent.pipelines.steps import Peek, Watch
from gpuagent.planning.upscaling import TILE_SIDE

if TYPE_CHECKING:
    pass

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "upscaler.safetensors"
_WARM_UP_SIDE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A tile of the starting picture; `right` and `bottom` are the first pixels beyond it."""

    left: int
    top: int
    right: int
    bottom: int


class Upscaler(LoadedModel):
    """One network: loaded into host memory, then brought to the device. It is never halved."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        from safetensors.torch import load_file

        network = make_network(json.loads((folder / CONFIG_NAME).read_bytes()))
        network.module.load_state_dict(load_file(folder / WEIGHTS_NAME))
        self._dtype = engine.dtype()
        network.module.to(self._dtype).eval().requires_grad_(False)
        self._network = network
        self._engine = engine
        # No measure is needed for a tile.
        super().__init__({"upscaler": Placed(network.module, engine.device)})

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        side = _WARM_UP_SIDE
        self.enlarge(Image.new("RGB", (side, side), "gray"), 2, watch=watch)

    def enlarge(
        self,
        picture: Image.Image,
        scale: int,
        *,
        watch: Watch | None = None,
        tile_side: int = TILE_SIDE,
    ) -> Pixels:
        """The picture with sides × `scale` (2 or 4). Same picture, same pixels.

        Beyond its borders it goes on as it ends there. Steps are tiles.

        Raises:
            Exception: whatever `watch.check` raises, before the next tile.
        """
        watch = watch or Watch()
        colors = np.asarray(picture.convert("RGB"))
        steps = _Steps(watch, peek_at(picture), self.steps_of(picture.size, scale, tile_side))
        for by in self._passes(scale):
            colors = self._enlarged(colors, by, steps, tile_side)
        return colors

    def steps_of(self, size: tuple[int, int], scale: int, tile_side: int = TILE_SIDE) -> int:
        """How many tiles are worked on for a picture of this size."""
        width, height, count = *size, 0
        for by in self._passes(scale):
            count += len(list(_boxes(width, height, tile_side)))
            width, height = width * by, height * by
        return count

    def _passes(self, scale: int) -> list[int]:
        """By how much each time: a network of × 2 does × 4 in two."""
        own = self._network.scale
        return [scale] if own >= scale else [own] * (scale // own)

    def _enlarged(self, colors: Pixels, scale: int, steps: _Steps, tile_side: int) -> Pixels:
        height, width = colors.shape[:2]
        overlap = self._network.overlap
        around = np.pad(colors, ((overlap, overlap), (overlap, overlap), (0, 0)), mode="edge")
        made = np.empty((height * scale, width * scale, 3), dtype=np.uint8)
        for box in _boxes(width, height, tile_side):
            steps.watch.check()
            seen = around[
                box.top : box.bottom + 2 * overlap, box.left : box.right + 2 * overlap
            ].copy()
            rows = slice(box.top * scale, box.bottom * scale)
            made[rows, box.left * scale : box.right * scale] = self._tile(seen, scale)
            steps.next()
        return made

    def _tile(self, seen: Pixels, scale: int) -> Pixels:
        """A tile with what is around it to the tile alone, enlarged."""
        import torch
        from torch.nn import functional

        network = self._network
        with torch.inference_mode():
            values = torch.from_numpy(seen).to(self._engine.device).permute(2, 0, 1)[None]
            made = network.enlarge(values.to(self._dtype) / 255).float().clamp(0, 1)
            if scale < network.scale:
                made = functional.avg_pool2d(made, network.scale // scale)
            array: Floats = made[0].permute(1, 2, 0).cpu().numpy()
        return (array * 255).round().astype(np.uint8)


@dataclass(slots=True)
class _Steps:
    """Tells of each tile that is done, whichever pass it is of."""

    watch: Watch
    peek: Peek
    of: int
    done: int = 0

    def next(self) -> None:
        self.done += 1
        self.watch.step(self.done, self.of, self.peek)


class PictureColors(LatentColors):
    """Shows what is a picture already, where a latent would be."""

    @override
    def pixels(self, latent: Floats) -> Pixels:
        return (np.moveaxis(latent, 0, -1) * 255).round().astype(np.uint8)


def picture_colors() -> PictureColors:
    """Those of a red, a green and a blue channel."""
    return PictureColors(factors=np.eye(3, dtype=np.float32), bias=np.zeros(3, dtype=np.float32))


def peek_at(picture: Image.Image) -> Callable[[], Floats]:
    """The starting picture, small: what is shown while something is made of it."""

    def peek() -> Floats:
        small = picture.convert("RGB")
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), reducing_gap=2.0)
        colors = np.asarray(small, dtype=np.float32) / np.float32(255)
        return np.ascontiguousarray(np.moveaxis(colors, -1, 0))

    return peek


def _boxes(width: int, height: int, side: int) -> Iterator[_Box]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield _Box(
                left=left,
                top=top,
                right=min(left + side, width),
                bottom=min(top + side, height),
            )
