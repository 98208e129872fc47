"""The part of a recipe that guides a picture: ControlNets, each with the picture it follows. Pure.

A ControlNet reads a *map*: lines, depths or poses drawn as a picture. It is given ready, as `map`,
or made from `image` by the kind's preprocessor, `gpuagent.maps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from gpuagent.protocol.recipe_reader import (
    Reader,
    RecipeInvalidError,
    as_float,
    as_integer,
    is_digest,
    short,
)
from gpuagent.protocol.taxonomy import ControlKind

CONTROLS_MAX = 3
WEIGHT_MIN, WEIGHT_MAX = 0.0, 2.0
# Hundredths of the step from black to white: where a line of Canny's begins, and how far it goes.
THRESHOLD_MIN, THRESHOLD_MAX = 1, 100
CANNY_LOW, CANNY_HIGH = 6, 16
MAP_SIDE_MIN = 64
_SETTINGS = frozenset({"kind", "model", "image", "map", "weight", "start", "end", "low", "high"})


# Their maps are made from pixels alone; the others' are to be brought along.
DRAWN_HERE = frozenset(
    {ControlKind.CANNY, ControlKind.LINEART, ControlKind.SCRIBBLE, ControlKind.TILE}
)
LABELS: Mapping[ControlKind, str] = {
    ControlKind.CANNY: "Canny edges",
    ControlKind.LINEART: "Line art",
    ControlKind.SCRIBBLE: "Scribble",
    ControlKind.TILE: "Tile",
    ControlKind.DEPTH: "Depth",
    ControlKind.OPENPOSE: "Open pose",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlUse:
    """A ControlNet by the digest of its version, and one of `image` and `map` by its SHA-256.

    `start` and `end` are shares of the steps. `low` and `high` are Canny's thresholds, for maps
    that are made here.
    """

    kind: ControlKind
    model: str
    image: str | None = None
    map: str | None = None
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    low: int | None = None
    high: int | None = None

    @property
    def picture(self) -> str:
        """SHA-256 of what was given, be it a map or not."""
        return self.map or self.image or ""

    def to_wire(self) -> dict[str, object]:
        """Without what is not said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def pictures_of(controls: Sequence[ControlUse]) -> dict[str, str]:
    """What a job with them is made from, by the role that each has in it."""
    return {role_of(number): use.picture for number, use in enumerate(controls, 1)}


def role_of(number: int) -> str:
    """Of the picture of the control at this place, counted from one."""
    return f"control_{number}"


def read_controls(reader: Reader) -> tuple[ControlUse, ...]:
    """`controls` of a recipe, in the order given; those that weigh nothing are left out."""
    given = reader.items("controls", CONTROLS_MAX, "controls")
    read = [_Reading(reader, number).control(item) for number, item in enumerate(given, 1)]
    return tuple(use for use in read if use is not None and use.weight > 0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads one of them; every problem says which."""

    reader: Reader
    number: int

    def control(self, item: object) -> ControlUse | None:
        before = len(self.reader.problems)
        if not isinstance(item, Mapping):
            self._problem("not_a_control", 'write it as {"kind": …, "model": …, "image": …}.', item)
            return None
        for name in sorted(set(map(str, item)) - _SETTINGS):
            self._problem("unknown_field", f"there is no setting called {short(name)!r}.", name)
        kind = self._kind(item.get("kind"))
        model = item.get("model")
        if not is_digest(model):
            message = "name its ControlNet by the digest, as `GET controls` has it."
            self._problem("unknown_control", message, model)
        image, ready = self._picture(item, "image"), self._picture(item, "map")
        self._check_pictures(kind, image, ready)
        weight = self._number(item, "weight", 1.0, WEIGHT_MIN, WEIGHT_MAX)
        start = self._number(item, "start", 0.0, 0.0, 1.0)
        end = self._number(item, "end", 1.0, 0.0, 1.0)
        if start >= end:
            message = f"it would start at {start:g} and end at {end:g}; the end must come later."
            self._problem("ends_before_start", message, [start, end])
        low, high = self._thresholds(item, kind, is_made=ready is None)
        if len(self.reader.problems) > before:
            return None
        return ControlUse(
            kind=kind,
            model=str(model),
            image=image,
            map=ready,
            weight=weight,
            start=start,
            end=end,
            low=low,
            high=high,
        )

    def _kind(self, given: object) -> ControlKind:
        if isinstance(given, str) and given in set(ControlKind):
            return ControlKind(given)
        named = ", ".join(ControlKind)
        message = f"there is no kind {short(given)!r}. Choose one of: {named}."
        self._problem("unknown_kind", message, given, list(ControlKind))
        return ControlKind.CANNY

    def _picture(self, item: Mapping[object, object], name: str) -> str | None:
        value = item.get(name)
        if value in (None, ""):
            return None
        if not is_digest(value):
            self._problem("unknown_image", f"its {_NOUNS[name]} is not known; add it again.", value)
        return str(value)

    def _check_pictures(self, kind: ControlKind, image: str | None, ready: str | None) -> None:
        if image is not None and ready is not None:
            message = "it has a picture and a map. Send the picture, or the map as `map`."
            self._problem("picture_and_map", message)
        elif image is None and ready is None:
            self._problem("needs_image", "it has no picture to follow. Add one.")
        elif ready is None and kind not in DRAWN_HERE:
            message = f"{LABELS[kind]} maps are not made here. Add a ready map, as `map`."
            self._problem("needs_map", message, kind.value)

    def _thresholds(
        self, item: Mapping[object, object], kind: ControlKind, *, is_made: bool
    ) -> tuple[int | None, int | None]:
        """Only Canny's own maps have them; elsewhere they are dropped."""
        if kind is not ControlKind.CANNY or not is_made:
            return None, None
        low, high = (
            int(self._number(item, name, usual, THRESHOLD_MIN, THRESHOLD_MAX, is_whole=True))
            for name, usual in (("low", CANNY_LOW), ("high", CANNY_HIGH))
        )
        if low > high:
            message = f"its low threshold is {low}, above the high one, {high}. Swap them."
            self._problem("low_above_high", message, [low, high])
        return low, high

    def _number(
        self,
        item: Mapping[object, object],
        name: str,
        usual: float,
        least: float,
        most: float,
        *,
        is_whole: bool = False,
    ) -> float:
        given = item.get(name)
        if given in (None, ""):
            return usual
        value = as_integer(given) if is_whole else as_float(given)
        if value is None:
            whole = "a whole number" if is_whole else "a number"
            self._problem("not_a_number", f"its {name} must be {whole}.", given)
            return usual
        if not least <= value <= most:
            message = f"its {name} is {value:g}; choose from {least:g} to {most:g}."
            self._problem("out_of_range", message, value, [least, most])
            return usual
        return value

    def _problem(self, code: str, message: str, value: object = None, limit: object = None) -> None:
        shown = value if isinstance(value, int | float | list | None) else short(value)
        self.reader.problem("controls", code, f"Control {self.number}: {message}", shown, limit)


_NOUNS = {"image": "picture", "map": "map"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRequest:
    """A map to be seen before it is used: of a picture, by its SHA-256, at a size."""

    kind: ControlKind
    image: str
    width: int
    height: int
    low: int = CANNY_LOW
    high: int = CANNY_HIGH

    @property
    def arguments(self) -> tuple[str, ...]:
        """As `gpuagent.maps` takes them as a program."""
        numbers = (self.width, self.height, self.low, self.high)
        return (self.kind.value, *(str(number) for number in numbers))


def read_map_request(raw: Mapping[str, object], *, side_max: int) -> MapRequest:
    """What is asked for, checked.

    Raises:
        RecipeInvalidError: with one `FieldProblem` per thing that is wrong.
    """
    reader = Reader(raw)
    drawn = [kind.value for kind in ControlKind if kind in DRAWN_HERE]
    kind = reader.one_of("kind", drawn, ControlKind.CANNY, "unknown_kind", "map made here called")
    image = reader.picture("image", "picture")
    if image is None and not reader.problems:
        reader.problem("image", "needs_image", "There is no picture to draw a map of. Add one.")
    width, height = (
        reader.integer(name, 512, MAP_SIDE_MIN, side_max, name.capitalize())
        for name in ("width", "height")
    )
    low, high = (
        reader.integer(name, usual, THRESHOLD_MIN, THRESHOLD_MAX, f"The {name} threshold")
        for name, usual in (("low", CANNY_LOW), ("high", CANNY_HIGH))
    )
    if low > high:
        message = f"The low threshold is {low}, above the high one, {high}. Swap them."
        reader.problem("low", "low_above_high", message, low, high)
    if reader.problems:
        raise RecipeInvalidError(tuple(reader.problems))
    return MapRequest(
        kind=ControlKind(kind), image=image or "", width=width, height=height, low=low, high=high
    )
