"""Pictures of any size through a model of one size: in tiles that overlap and are blended.

A denoiser's tiles are blended after every step, so that they grow together (as MultiDiffusion does
it); the sampler never knows. Memory is that of a tile, and of the latents, which are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.preview import Floats
from gpuagent.planning.hires import OVERLAP, starts

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a larger field, and how much each of its numbers counts in the blend.

    `field` is height and width of the whole.
    """

    rows: slice
    columns: slice
    weights: Floats
    field: tuple[int, int]

    @property
    def is_last(self) -> bool:
        """Of its field: the others come before it."""
        return (self.rows.stop, self.columns.stop) == self.field


def tiles(height: int, width: int, side: int) -> list[Tile]:
    """Those of a field, row by row."""
    tops, lefts = starts(height, side), starts(width, side)
    tall, wide = min(height, side), min(width, side)
    return [
        Tile(
            rows=slice(top, top + tall),
            columns=slice(left, left + wide),
            weights=np.outer(_ramp(top, tall, height), _ramp(left, wide, width)),
            field=(height, width),
        )
        for top in tops
        for left in lefts
    ]


def _ramp(start: int, side: int, length: int) -> Floats:
    """1 in the middle; towards a neighbor it falls over the overlap, at the field's edge it does
    not.
    """
    overlap = max(1, side // OVERLAP)
    done = np.minimum((np.arange(side, dtype=np.float32) + np.float32(0.5)) / overlap, 1)
    rise = np.sin(done * np.float32(np.pi / 2)) ** 2  # from nothing and to all without a bend
    weights = np.ones(side, dtype=np.float32)
    if start > 0:
        weights = np.minimum(weights, rise)
    if start + side < length:
        weights = np.minimum(weights, rise[::-1])
    return weights


class TiledDenoiser:
    """Lets a denoiser of pictures work on tiles, while that is asked for.

    `show` is told which tile is being drawn, and None after the last: for what lies within the
    denoiser and looks at the whole.
    """

    def __init__(
        self,
        denoiser: Any,  # noqa: ANN401 - no types
        scale: int,
        show: Callable[[Tile | None], None] = lambda _tile: None,
    ) -> None:
        self.scale = scale
        self._show = show
        self._side = 0
        self._before: Callable[[], None] = lambda: None
        self._forward = denoiser.forward
        denoiser.forward = self._call

    @contextmanager
    def of(self, side: int, before: Callable[[], None]) -> Iterator[None]:
        """Tiles of so many pixels; `before` is called before each and may raise to stop."""
        self._side, self._before = side // self.scale, before
        try:
            yield
        finally:
            self._side, self._before = 0, lambda: None

    def _call(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
        latents = given[0] if given else named["hidden_states"]
        is_tiled = self._side and latents.ndim == 4 and max(latents.shape[-2:]) > self._side
        if not is_tiled:
            if self._side:
                self._before()
            return self._forward(*given, **named)
        import torch

        height, width = latents.shape[-2:]
        named["return_dict"] = False
        made = torch.zeros(latents.shape, dtype=torch.float32, device=latents.device)
        total = torch.zeros((height, width), dtype=torch.float32, device=latents.device)
        for tile in tiles(height, width, self._side):
            self._before()
            seen = _cut(given, tile, (height, width))
            self._show(tile)
            try:
                drawn = self._forward(*seen, **_cut(named, tile, (height, width)))[0]
            finally:
                self._show(None)
            weights = torch.from_numpy(tile.weights).to(latents.device)
            # A denoiser for inpainting takes more channels than it gives.
            made[:, : drawn.shape[1], tile.rows, tile.columns] += drawn.float() * weights
            total[tile.rows, tile.columns] += weights
        return ((made[:, : drawn.shape[1]] / total).to(drawn.dtype),)


def _cut(value: Any, tile: Tile, size: tuple[int, int]) -> Any:  # noqa: ANN401 - as above
    """The tile's part of what lies over the picture, also of what does so more coarsely."""
    if isinstance(value, dict):
        return {name: _cut(each, tile, size) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cut(each, tile, size) for each in value)
    if getattr(value, "ndim", 0) != 4:
        return value
    parts = []
    for whole, part, have in zip(size, (tile.rows, tile.columns), value.shape[-2:], strict=True):
        by = max(1, round(whole / have))
        first = part.start // by
        parts.append(slice(first, first + -(-(part.stop - part.start) // by)))
    return value[..., parts[0], parts[1]]


def encode_tiles(
    picture: Image.Image, side: int, scale: int, encode: Callable[[Image.Image], torch.Tensor]
) -> torch.Tensor:
    """A picture's latents, each of `scale` pixels a side; `encode` gives those of a tile."""
    import torch

    height, width = picture.height // scale, picture.width // scale
    made, total = torch.zeros(()), torch.zeros(height, width)
    for tile in tiles(height, width, side // scale):
        rows, columns = tile.rows, tile.columns
        box = (columns.start, rows.start, columns.stop, rows.stop)
        latents = encode(picture.crop(tuple(edge * scale for edge in box))).float()
        if not made.ndim:
            made = torch.zeros((*latents.shape[:2], height, width), device=latents.device)
            total = total.to(latents.device)
        weights = torch.from_numpy(tile.weights).to(latents.device)
        made[..., rows, columns] += latents * weights
        total[rows, columns] += weights
    return made / total


def decode_tiles(
    latents: torch.Tensor, side: int, scale: int, decode: Callable[[torch.Tensor], Pixels]
) -> Pixels:
    """Latents to pixels, `scale` a side each; `decode` gives those of a tile."""
    height, width = latents.shape[-2:]
    made = np.zeros((height * scale, width * scale, 3), dtype=np.float32)
    total = np.zeros((height * scale, width * scale, 1), dtype=np.float32)
    for tile in tiles(height, width, side // scale):
        pixels = decode(latents[..., tile.rows, tile.columns])
        weights = np.kron(tile.weights, np.ones((scale, scale), np.float32))[..., None]
        rows, columns = (slice(s.start * scale, s.stop * scale) for s in (tile.rows, tile.columns))
        made[rows, columns] += pixels * weights
        total[rows, columns] += weights
    made /= total
    return made.round().clip(0, 255).astype(np.uint8)
