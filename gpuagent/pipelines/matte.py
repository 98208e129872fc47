"""A small, soft mask made a sharp one of the picture's own size, and colors without background.

The mask follows the picture's edges by a guided filter (He, Sun, Tang 2010), whose coefficients
are found on a smaller copy (its fast form, 2015). The colors of half-covered pixels are what the
object has nearby, without the background's share (blur fusion: Forte 2021). Both work at the full
size in bands of rows, so memory does not grow with the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from gpuagent.planning.cutting import BAND_ROWS

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

# How unlike two colors (0 to 1) must be for an edge: smaller follows fainter ones. Those below were
# chosen by drawings of 480 pixels: overlap with the true mask 0.995, mean error 0.002.
GUIDED_EPSILON = 1e-4
# The filter looks so far around, in pixels of what the network read.
GUIDED_REACH = 2.5
# A pixel is wholly in or out from here on, so that what is left of a wrong doubt is not seen.
OUT, IN = 0.12, 0.88
COLOR_REACH = 8


@dataclass(frozen=True, slots=True)
class Guide:
    """How the mask follows the picture: per pixel of a smaller copy, three factors and a bias."""

    values: torch.Tensor

    @classmethod
    def of(cls, small: torch.Tensor, mask: torch.Tensor, reach: int) -> Guide:
        """From a small picture `[1, 3, h, w]` of 0 to 1 and its mask `[1, 1, h, w]`."""
        import torch

        mean_color, mean_mask = _mean(small, reach), _mean(mask, reach)
        with_mask = _mean(small * mask, reach) - mean_color * mean_mask
        pairs = _mean((small[:, :, None] * small[:, None]).flatten(1, 2), reach)
        spread = pairs.reshape(1, 3, 3, *small.shape[2:])
        spread = (spread - mean_color[:, :, None] * mean_color[:, None]).permute(0, 3, 4, 1, 2)
        eye = torch.eye(3, dtype=small.dtype, device=small.device) * GUIDED_EPSILON
        factors = torch.linalg.solve(spread + eye, with_mask.permute(0, 2, 3, 1)[..., None])
        factors = factors[..., 0].permute(0, 3, 1, 2)
        bias = mean_mask - (factors * mean_color).sum(1, keepdim=True)
        return cls(_mean(torch.cat((factors, bias), 1), reach))

    def follow(self, colors: Bytes, rows: slice, height: int) -> Bytes:
        """The mask of these rows of the whole picture, whose colors are given."""
        values = _stretch(self.values, rows, height, colors.shape[1])
        alpha = (values[..., :3] * (colors.astype(np.float32) / 255)).sum(2) + values[..., 3]
        sure = ((alpha - OUT) / (IN - OUT)).clip(0, 1)
        return np.asarray((sure * 255).round().astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Nearby:
    """What colors object and background have around each pixel of a smaller copy."""

    values: torch.Tensor

    @classmethod
    def of(cls, small: torch.Tensor, mask: torch.Tensor) -> Nearby:
        """From a small picture `[1, 3, h, w]` of 0 to 1 and its mask `[1, 1, h, w]`."""
        import torch

        parts = []
        for share in (mask, 1 - mask):
            weight = _mean(share, COLOR_REACH)
            parts.append(_mean(small * share, COLOR_REACH) / weight.clamp(min=1e-4))
        return cls(torch.cat(parts, 1))

    def clean(self, colors: Bytes, alpha: Bytes, rows: slice, height: int) -> Bytes:
        """These rows without the background's share. What is wholly out has no color at all."""
        share = alpha[..., None].astype(np.float32) / 255
        given = colors.astype(np.float32) / 255
        near = _stretch(self.values, rows, height, colors.shape[1])
        inside, outside = near[..., :3], near[..., 3:]
        rest = given - share * inside - (1 - share) * outside
        made = (inside + share * rest).clip(0, 1)
        made = np.where(share == 1, given, np.where(share == 0, 0, made))
        return np.asarray((made * 255).round().astype(np.uint8))


def bands(height: int) -> Iterator[slice]:
    """Rows that are worked on together."""
    for top in range(0, height, BAND_ROWS):
        yield slice(top, min(top + BAND_ROWS, height))


def softened(alpha: Bytes, edge: int) -> Bytes:
    """The mask fading over the last `edge` pixels inside the object; nothing outside comes in."""
    if edge == 0:
        return alpha
    blurred = Image.fromarray(alpha).filter(ImageFilter.GaussianBlur(edge / 2))
    inner = (np.asarray(blurred).astype(np.int16) * 2 - 255).clip(0, 255).astype(np.uint8)
    return np.minimum(alpha, inner)


def _mean(values: torch.Tensor, reach: int) -> torch.Tensor:
    """The mean of a square around each pixel; at borders of the part of it that there is."""
    from torch.nn import functional

    wide = min(reach, values.shape[3] - 1), min(reach, values.shape[2] - 1)
    made = functional.avg_pool2d(
        values, (1, 2 * wide[0] + 1), 1, (0, wide[0]), count_include_pad=False
    )
    return functional.avg_pool2d(
        made, (2 * wide[1] + 1, 1), 1, (wide[1], 0), count_include_pad=False
    )


def _stretch(small: torch.Tensor, rows: slice, height: int, width: int) -> Floats:
    """Some rows of `small` enlarged to the whole size, bilinearly, `[rows, width, channels]`."""
    import torch
    from torch.nn import functional

    have = small.shape[2]
    at = (torch.arange(rows.start, rows.stop, device=small.device) + 0.5) * (have / height) - 0.5
    at = at.clamp(0, have - 1)
    upper = at.floor().long()
    lower = (upper + 1).clamp(max=have - 1)
    part = (at - upper).to(small.dtype)[None, None, :, None]
    lines = small[:, :, upper] * (1 - part) + small[:, :, lower] * part
    wide = functional.interpolate(
        lines, size=(lines.shape[2], width), mode="bilinear", align_corners=False
    )
    made: Floats = wide[0].permute(1, 2, 0).cpu().numpy()
    return made
