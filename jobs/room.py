"""What to say of a recipe that fits nowhere: what takes the memory, and what to lower. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpuagent.protocol.recipe import SIDE_MIN, FieldProblem

GIB = 1024**3
STEP = 64  # sizes are proposed in steps that any model makes well
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """What lies beside the model: the stored bytes of each, the largest counting first."""

    noun: str
    field: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A recipe as far as memory goes. `needs(width, height, laid bytes, picture)` is in bytes;
    `picture` is False for the same without its starting picture's size.
    """

    model: str
    width: int
    height: int
    laid: tuple[Laid, ...]
    needs: Callable[[int, int, int, bool], int]

    @property
    def needed_bytes(self) -> int:
        return self.needs(self.width, self.height, self.laid_bytes({}), True)

    def laid_bytes(self, fewer: Mapping[str, int]) -> int:
        """Of all that is laid, without so many of the largest of some nouns."""
        kept = (sorted(each.sizes, reverse=True)[fewer.get(each.noun, 0) :] for each in self.laid)
        return sum(map(sum, kept))


def counted(number: int, noun: str) -> str:
    """`two ControlNets`."""
    word = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    return f"{word} {noun}{'' if number == 1 else 's'}"


def too_large(wish: Wish, largest_bytes: int) -> FieldProblem:
    """The sentence, at the setting to change first; its limit is a side that fits, 0 if none does.

    `1536 × 1536 with two ControlNets needs about 21.0 GiB; the largest agent has 16.0 GiB. Try
    1152 × 1152, or one ControlNet.`
    """
    size, lowered = _smaller(wish, largest_bytes), _fewer(wish, largest_bytes)
    tries = [f"{size[0]} × {size[1]} or smaller"] if size else []
    tries += [counted(len(each.sizes) - less, each.noun) for each, less in lowered]
    field = "width" if size else lowered[0][0].field if lowered else "model"
    without = wish.needs(wish.width, wish.height, wish.laid_bytes({}), False)
    if not tries and without <= largest_bytes:
        tries, field = ["a smaller starting picture"], "image"
    having = [counted(len(each.sizes), each.noun) for each in wish.laid if each.sizes]
    beside = f" with {' and '.join(having)}" if having else ""
    hint = f"Try {', or '.join(tries)}." if tries else "Choose a smaller model."
    message = (
        f"{wish.model} at {wish.width} × {wish.height}{beside} needs about "
        f"{wish.needed_bytes / GIB:.1f} GiB; the largest agent has {largest_bytes / GIB:.1f} GiB. "
        f"{hint}"
    )
    return FieldProblem(
        field=field,
        code="does_not_fit",
        message=message,
        value=wish.width * wish.height,
        limit=min(size) if size else 0,
    )


def _smaller(wish: Wish, largest_bytes: int) -> tuple[int, int] | None:
    """The largest size of nearly this shape that fits with all the rest; None if none does."""
    laid = wish.laid_bytes({})
    longer = max(wish.width, wish.height)
    for side in range(longer - longer % STEP, 0, -STEP):
        width, height = (
            max(SIDE_MIN, _step(s * side // longer)) for s in (wish.width, wish.height)
        )
        if wish.needs(width, height, laid, True) <= largest_bytes:
            return width, height
    return None


def _step(side: int) -> int:
    return side - side % STEP


def _fewer(wish: Wish, largest_bytes: int) -> list[tuple[Laid, int]]:
    """Of which noun how many less would do, at the same size."""
    found = []
    for each in wish.laid:
        for less in range(1, len(each.sizes) + 1):
            kept = wish.laid_bytes({each.noun: less})
            if wish.needs(wish.width, wish.height, kept, True) <= largest_bytes:
                found.append((each, less))
                break
    return found
