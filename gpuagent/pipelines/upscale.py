"""Enlarging a picture with Real-ESRGAN, tile by tile: any size fits, and no seam can be seen."""

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
from gpuagent.pipelines.esrgan import SCALE, make_network, run_network
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.placing import Placed
from gpuagent.pipelines.preview import Floats, LatentColors
from gpuagent.pipelines.steps import Watch
from gpuagent.planning.upscaling import OVERLAP, TILE_SIDE

if TYPE_CHECKING:
    import torch

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
        network.load_state_dict(load_file(folder / WEIGHTS_NAME))
        self._dtype = engine.dtype()
        self._network = network.to(self._dtype).eval().requires_grad_(False)
        self._engine = engine
        # No measure is needed for a tile.
        super().__init__({"upscaler": Placed(self._network, engine.device)})

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
        height, width = colors.shape[:2]
        around = np.pad(colors, ((OVERLAP, OVERLAP), (OVERLAP, OVERLAP), (0, 0)), mode="edge")
        made = np.empty((height * scale, width * scale, 3), dtype=np.uint8)
        boxes = list(_boxes(width, height, tile_side))
        for done, box in enumerate(boxes, 1):
            watch.check()
            seen = around[
                box.top : box.bottom + 2 * OVERLAP, box.left : box.right + 2 * OVERLAP
            ].copy()
            rows = slice(box.top * scale, box.bottom * scale)
            made[rows, box.left * scale : box.right * scale] = self._tile(seen, scale)
            watch.step(done, len(boxes), peek_at(picture))
        return made

    def _tile(self, seen: Pixels, scale: int) -> Pixels:
        """A tile with what is around it to the tile alone, enlarged."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            values = torch.from_numpy(seen).to(self._engine.device).permute(2, 0, 1)[None]
            made: torch.Tensor = run_network(self._network, values.to(self._dtype) / 255).float()
            edge = OVERLAP * SCALE
            made = made[:, :, edge:-edge, edge:-edge].clamp(0, 1)
            if scale < SCALE:
                made = functional.avg_pool2d(made, SCALE // scale)
            array: Floats = made[0].permute(1, 2, 0).cpu().numpy()
        return (array * 255).round().astype(np.uint8)


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
