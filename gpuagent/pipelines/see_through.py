"""Pictures with nothing around their objects, made larger: colors and coverage apart.

Uploads lie on white, with a mask of what was transparent. The white is taken out of the colors, and
they go on beyond the objects' edges, so that no enlarging mixes white into an edge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.preview import Floats

# Of an object's edge, in pixels of the starting picture: how far its coverage may spread.
_REACH = 3


def enlarge_apart(
    picture: Image.Image, missing: Image.Image, enlarge: Callable[[Image.Image], Pixels]
) -> Pixels:
    """RGBA of a picture on white and a mask that is white where it was transparent."""
    if missing.size != picture.size:
        missing = missing.resize(picture.size, Image.Resampling.BILINEAR)
    alpha: Pixels = 255 - np.asarray(missing.convert("L"))
    colors = enlarge(Image.fromarray(beyond_edges(np.asarray(picture.convert("RGB")), alpha)))
    cover = _cover(alpha, enlarge(Image.fromarray(alpha).convert("RGB")))
    made = np.dstack([colors, cover])
    made[cover == 0] = 0
    return made


def beyond_edges(colors: Pixels, alpha: Pixels) -> Pixels:
    """Colors on white without the white, and what is wholly transparent like what is near it."""
    share: Floats = alpha[..., None].astype(np.float32) / np.float32(255)
    weighted = np.maximum(colors.astype(np.float32) - np.float32(255) * (1 - share), np.float32(0))
    filled = _filled(weighted, share)
    return np.asarray(filled.round().clip(0, 255), dtype=np.uint8)


def _filled(weighted: Floats, share: Floats) -> Floats:
    """Where a share is missing, the colors of a coarser picture stand in."""
    height, width = share.shape[:2]
    if height == width == 1:
        return np.asarray(weighted / np.maximum(share, 1e-6), dtype=np.float32)
    coarse = _filled(_halved(weighted), _halved(share))
    coarse = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.asarray(weighted + (1 - share) * coarse, dtype=np.float32)


def _halved(values: Floats) -> Floats:
    height, width, channels = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    grouped = even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels)
    return np.asarray(grouped.mean(axis=(1, 3)), dtype=np.float32)


def _cover(alpha: Pixels, enlarged: Pixels) -> Pixels:
    """The enlarged coverage within what is near: what is whole stays whole, and nothing nothing."""
    size = (enlarged.shape[1], enlarged.shape[0])
    plain = Image.fromarray(alpha)
    least, most = (
        np.asarray(plain.filter(each(_REACH)).resize(size, Image.Resampling.NEAREST))
        for each in (ImageFilter.MinFilter, ImageFilter.MaxFilter)
    )
    gray = enlarged.astype(np.float32).mean(axis=2).round().astype(np.uint8)
    return np.asarray(gray.clip(least, most), dtype=np.uint8)
