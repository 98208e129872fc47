"""Canny's edges of pictures: where colour changes sharply, drawn as lines one pixel wide."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

# A line must be this strong somewhere, and this strong all along (1 is black against white).
STRONG, WEAK = 0.16, 0.06
BLUR = 1.0
# So few pictures stay in the processor's cache.
_AT_ONCE = 8
# Neighbours across an edge, as (down, right), by the sector of 45° in which its gradient points.
_ACROSS = ((0, 1), (1, 1), (1, 0), (1, -1))


def edges(pictures: torch.Tensor) -> torch.Tensor:
    """Edges `[n, 1, h, w]` of 0 or 1 of the pictures `[n, 3, h, w]` of -1 to 1."""
    values = (pictures.float() + 1) / 2
    starts = range(0, len(values), _AT_ONCE)
    return torch.cat([_edges(values[start : start + _AT_ONCE]) for start in starts])


def _edges(values: torch.Tensor) -> torch.Tensor:
    down, right = _gradient(_blurred(values))
    strength = torch.hypot(down, right)
    thin = _thinned(strength, down, right)
    return _followed(thin & (strength >= STRONG), thin & (strength >= WEAK))[:, None].float()


def as_condition(lines: torch.Tensor) -> torch.Tensor:
    """Edges as the picture `[n, 3, h, w]` that a ControlNet reads."""
    return lines.expand(-1, 3, -1, -1)


def _blurred(values: torch.Tensor) -> torch.Tensor:
    reach = math.ceil(2 * BLUR)
    bell = torch.exp(-((torch.arange(-reach, reach + 1) / BLUR) ** 2) / 2)
    return _separable(values, bell / bell.sum(), bell / bell.sum())


def _gradient(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sobel's slopes `[n, h, w]` downwards and to the right, of the channel that changes most."""
    slope, smooth = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([0.25, 0.5, 0.25])
    down, right = _separable(values, slope, smooth), _separable(values, smooth, slope)
    strength = down.square() + right.square()
    best, *others = range(down.shape[1])
    chosen = down[:, best], right[:, best], strength[:, best]
    for channel in others:
        more = strength[:, channel] > chosen[2]
        rivals = down[:, channel], right[:, channel], strength[:, channel]
        chosen = (
            torch.where(more, rivals[0], chosen[0]),
            torch.where(more, rivals[1], chosen[1]),
            torch.where(more, rivals[2], chosen[2]),
        )
    return chosen[0], chosen[1]


def _separable(values: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Each channel filtered by `down` along its columns, then by `right` along its rows."""
    reach, (height, width) = len(down) // 2, values.shape[-2:]
    padded = F.pad(values, (reach, reach, reach, reach), mode="replicate")
    rows = torch.zeros_like(padded[..., :height, :])
    for place, weight in enumerate(down.tolist()):
        rows.add_(padded[..., place : place + height, :], alpha=weight)
    made = torch.zeros_like(values)
    for place, weight in enumerate(right.tolist()):
        made.add_(rows[..., place : place + width], alpha=weight)
    return made


def _thinned(strength: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Where the gradient is stronger than at both neighbours across the edge."""
    steep, flat = math.tan(math.radians(67.5)), math.tan(math.radians(22.5))
    level, upright = down.abs() <= flat * right.abs(), down.abs() > steep * right.abs()
    leans = ~level & ~upright
    falls = (down * right) > 0
    sectors = (level, leans & falls, upright, leans & ~falls)
    peak = torch.zeros_like(level)
    padded = F.pad(strength, (1, 1, 1, 1))
    for sector, (dy, dx) in zip(sectors, _ACROSS, strict=True):
        ahead, behind = _shifted(padded, dy, dx), _shifted(padded, -dy, -dx)
        peak |= sector & (strength > ahead) & (strength >= behind)
    return peak


def _shifted(padded: torch.Tensor, down: int, right: int) -> torch.Tensor:
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _followed(strong: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
    """Strong points, and the weak ones that hang together with them."""
    lines = strong
    while True:
        rows = F.pad(lines, (1, 1, 1, 1))
        rows = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
        grown = (rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]) & weak
        if torch.equal(grown, lines):
            return lines
        lines = grown
