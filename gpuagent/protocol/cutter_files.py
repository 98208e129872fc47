"""Weights that cut objects out: which shapes make a U²-Net, told from the header of the file.

Both sides use it: the library to refuse what is none, the agent to build what the weights fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# The stages in their order: how many layers deep, and whether dilated layers take the place of
# halving (the published RSU-7, -6, -5, -4, and -4F).
STAGES: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "stage1": (7, False),
        "stage2": (6, False),
        "stage3": (5, False),
        "stage4": (4, False),
        "stage5": (4, True),
        "stage6": (4, True),
        "stage5d": (4, True),
        "stage4d": (4, False),
        "stage3d": (5, False),
        "stage2d": (6, False),
        "stage1d": (7, False),
    }
)
WIDTH_MAX = 1_024
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One small U-Net of the network: its form, and how many channels it takes, has and gives."""

    depth: int
    is_flat: bool
    entering: int
    within: int
    leaving: int

    def layers(self) -> dict[str, tuple[int, int, int]]:
        """Channels in, channels out and dilation of each of its layers, by name."""
        within, last = self.within, self.depth
        found = {"rebnconvin": (self.entering, self.leaving, 1)}
        for number in range(1, last + 1):
            entering = self.leaving if number == 1 else within
            found[f"rebnconv{number}"] = (entering, within, self._dilation(number))
        for number in range(last - 1, 0, -1):
            leaving = self.leaving if number == 1 else within
            found[f"rebnconv{number}d"] = (2 * within, leaving, self._dilation(number, up=True))
        return found

    def _dilation(self, number: int, *, up: bool = False) -> int:
        if self.is_flat:
            return int(2 ** (number - 1))
        return 2 if number == self.depth and not up else 1


def stages_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Stage]:
    """The stages that weights of these shapes are of.

    Raises:
        ValueError: they are not those of a U²-Net: a layer is missing, too many, or does not fit.
    """
    widths = {name: _widths(shapes, name) for name in STAGES}
    stages: dict[str, Stage] = {}
    entering = 3
    for name, (depth, is_flat) in STAGES.items():
        if name.endswith("d"):
            entering += widths[name.removesuffix("d")][1]
        within, leaving = widths[name]
        stages[name] = Stage(
            depth=depth, is_flat=is_flat, entering=entering, within=within, leaving=leaving
        )
        entering = leaving
    wanted = shapes_of(stages)
    given = {name: shape for name, shape in shapes.items() if not name.endswith(_COUNTER)}
    if given != wanted:
        odd = min(name for name in {**given, **wanted} if given.get(name) != wanted.get(name))
        raise ValueError(odd)
    return stages


def shapes_of(stages: Mapping[str, Stage]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters of such a network."""
    found: dict[str, tuple[int, ...]] = {}
    for name, stage in stages.items():
        for layer, (entering, leaving, _dilation) in stage.layers().items():
            at = f"{name}.{layer}"
            found[f"{at}.conv_s1.weight"] = (leaving, entering, 3, 3)
            for part in ("conv_s1.bias", *_norm("bn_s1")):
                found[f"{at}.{part}"] = (leaving,)
    for side in range(1, 7):
        width = stages["stage6" if side == 6 else f"stage{side}d"].leaving
        found[f"side{side}.weight"] = (1, width, 3, 3)
        found[f"side{side}.bias"] = (1,)
    return {**found, "outconv.weight": (1, 6, 1, 1), "outconv.bias": (1,)}


def plain_shapes(within: int, leaving: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a network whose stages are all of one width; 16 and 64 are `u2netp`'s."""
    stages: dict[str, Stage] = {}
    for name, (depth, is_flat) in STAGES.items():
        entering = 3 if name == "stage1" else 2 * leaving if name.endswith("d") else leaving
        stages[name] = Stage(
            depth=depth, is_flat=is_flat, entering=entering, within=within, leaving=leaving
        )
    return shapes_of(stages)


def _norm(name: str) -> tuple[str, ...]:
    return tuple(f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))


def _widths(shapes: Mapping[str, tuple[int, ...]], stage: str) -> tuple[int, int]:
    """Channels within and out of a stage, as two of its biases say."""
    found = []
    for layer in ("rebnconv2", "rebnconvin"):
        name = f"{stage}.{layer}.conv_s1.bias"
        shape = shapes.get(name, ())
        if len(shape) != 1 or not 1 <= shape[0] <= WIDTH_MAX:
            raise ValueError(name)
        found.append(shape[0])
    return found[0], found[1]
