"""What a picture takes on top of what lies there all the time, and what measuring says about that.

The plan's figures of activations are the same for all models of a family. What a picture was seen
to take says how much of them a model really needs: a factor, bounded, quick to rise and slow to
fall. Pure: who measures and who remembers is the runner's business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# What a correction may do at most, and how many pictures it takes until it lowers anything.
FACTOR_MIN, FACTOR_MAX = 0.7, 1.6
LEAST_SEEN = 3
# On top of the highest lately seen; allocators round.
_MARGIN = 1.05
# How fast the highest lately seen is forgotten, a picture; a higher one counts at once.
_FALL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Each moment's bytes: what has to come for it, and its activations as planned."""

    moments: tuple[tuple[int, int], ...] = ()

    def bytes_at(self, factor: float = 1.0) -> int:
        """The most that any moment takes."""
        return max((come + int(active * factor) for come, active in self.moments), default=0)

    def factor_of(self, measured_bytes: int) -> float | None:
        """With which this would have been foreseen just so; None if activations are no part of it.

        If only what has to come was seen, activations may have been anything below.
        """
        found = [(measured_bytes - come) / active for come, active in self.moments if active > 0]
        return max(0.0, min(found)) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Of pictures of one kind: about the highest factor lately, of how many, and the largest."""

    level: float = 0.0
    count: int = 0
    pixels: int = 0

    def with_picture(self, factor: float, pixels: int) -> Seen:
        """After one more."""
        factor = min(factor, FACTOR_MAX)
        level = max(factor, self.level + _FALL * (factor - self.level)) if self.count else factor
        return Seen(
            level=round(level, 2),
            count=min(self.count + 1, LEAST_SEEN),
            pixels=max(self.pixels, pixels),
        )

    def with_shortage(self) -> Seen:
        """Memory ran out: more was needed than was foreseen, nobody knows how much."""
        return replace(self, level=min(FACTOR_MAX, max(1.0, self.level) * 1.1), count=0)

    def factor(self, pixels: int, *, may_lower: bool) -> float:
        """What activations of a picture are to be multiplied by.

        A picture larger than any that was seen may take more for each of its pixels.
        """
        factor = min(max(self.level * _MARGIN, FACTOR_MIN), FACTOR_MAX)
        is_sure = may_lower and self.count >= LEAST_SEEN and pixels <= self.pixels
        return factor if factor > 1 or is_sure else 1.0
