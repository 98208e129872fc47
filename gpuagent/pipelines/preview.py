"""Previews: latents to colours by one small matrix, fitted to each model's own VAE."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpuagent.cache.writing import write_atomically
from gpuagent.pipelines.encode import Pixels

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

_SAMPLES = 12
_SAMPLE_SIDE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentColors:
    """`rgb = latent @ factors + bias`, with colours from 0 to 1; factors is channels × 3."""

    factors: Floats
    bias: Floats

    def colors(self, latent: Floats) -> Floats:
        """A (channels, height, width) latent as (height, width, 3) colours."""
        flat = np.moveaxis(latent, 0, -1)
        return (flat @ self.factors + self.bias).astype(np.float32)

    def pixels(self, latent: Floats) -> Pixels:
        """The same, as 8-bit pixels.

        Early steps under guidance foresee colours far outside the range; they are drawn together,
        all channels alike, so that they look faint rather than garish.
        """
        colors = np.nan_to_num(self.colors(latent))
        low, high = np.percentile(colors, (2, 98))
        if high - low > 1:
            colors = (colors - low) / (high - low)
        return (colors.clip(0, 1) * 255).round().astype(np.uint8)

    def to_json(self) -> bytes:
        """For the note beside a model's files."""
        return json.dumps({"factors": self.factors.tolist(), "bias": self.bias.tolist()}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> LatentColors:
        """Read `to_json` back.

        Raises:
            ValueError: it is not that.
        """
        try:
            raw = json.loads(data)
            factors = np.asarray(raw["factors"], dtype=np.float32)
            bias = np.asarray(raw["bias"], dtype=np.float32)
        except (KeyError, TypeError) as error:
            raise ValueError("not a note on latent colours") from error
        if factors.ndim != 2 or factors.shape[1] != 3 or bias.shape != (3,):
            raise ValueError("latent colours of another shape")
        return cls(factors=factors, bias=bias)


def noted_latent_colors(
    notes: Path | None, encode: Callable[[Floats], Floats], decode: Callable[[Floats], Floats]
) -> LatentColors:
    """Those of the note beside a model's files; fitted, and noted, if there is none."""
    if notes is not None:
        try:
            return LatentColors.from_json(notes.read_bytes())
        except (OSError, ValueError):
            pass  # not fitted yet, or another version's note
    colors = fit_latent_colors(encode, decode)
    if notes is not None:
        write_atomically(notes, colors.to_json())
    return colors


def fit_latent_colors(
    encode: Callable[[Floats], Floats], decode: Callable[[Floats], Floats]
) -> LatentColors:
    """Fit by least squares on soft blots of colour taken through the VAE and back.

    `encode` takes (n, 3, h, w) colours from 0 to 1 and gives latents, `decode` the reverse.
    """
    latents = encode(_blots())
    decoded = decode(latents)
    small = _shrink(decoded, latents.shape[-2], latents.shape[-1])
    rows = np.moveaxis(latents, 1, -1).reshape(-1, latents.shape[1])
    ones = np.ones((len(rows), 1), dtype=np.float32)
    targets = np.moveaxis(small, 1, -1).reshape(-1, 3)
    solution, *_ = np.linalg.lstsq(np.hstack([rows, ones]), targets, rcond=None)
    return LatentColors(
        factors=solution[:-1].astype(np.float32), bias=solution[-1].astype(np.float32)
    )


def _blots() -> Floats:
    """Smooth random colour fields with some hard-edged boxes; always the same ones."""
    random = np.random.default_rng(20_260_101)
    side = _SAMPLE_SIDE
    fields = np.empty((_SAMPLES, 3, side, side), dtype=np.float32)
    for number in range(_SAMPLES):
        cells = 2 ** (1 + number % 4)
        coarse = random.random((3, cells, cells))
        fields[number] = np.kron(coarse, np.ones((side // cells, side // cells)))
        for _ in range(number % 5):
            top, left = random.integers(0, side - 16, 2)
            tall, wide = random.integers(12, side // 2, 2)
            fields[number, :, top : top + tall, left : left + wide] = random.random((3, 1, 1))
    return fields


def _shrink(images: Floats, height: int, width: int) -> Floats:
    """Mean over the patch that each latent stands for."""
    count, channels, tall, wide = images.shape
    patches = images.reshape(count, channels, height, tall // height, width, wide // width)
    return np.asarray(patches.mean(axis=(3, 5)), dtype=np.float32)
