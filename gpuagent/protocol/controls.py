"""The part of a recipe that guides a picture: ControlNets, each with the picture it follows. Pure.

A ControlNet reads a *map*: lines, depths or poses drawn as a picture. It is given ready, as `map`,
or made from `image`: by `gpuagent.maps`, or by a map maker's network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from gpuagent.protocol.recipe_reader import (
    Item,
    Reader,
    RecipeInvalidError,
    is_digest,
    short,
)
from gpuagent.protocol.taxonomy import ControlKind
from gpuagent.protocol.tuning import asks_for_hires

CONTROLS_MAX = 3
WEIGHT_MIN, WEIGHT_MAX = 0.0, 2.0
# Hundredths of the step from black to white: where a line of Canny's begins, and how far it goes.
THRESHOLD_MIN, THRESHOLD_MAX = 1, 100
CANNY_LOW, CANNY_HIGH = 6, 16
_WRITTEN = '{"kind": …, "model": …, "image": …}'
MAP_SIDE_MIN = 64
_SETTINGS = frozenset(
    {"kind", "model", "image", "map", "mapper", "weight", "start", "end", "low", "high"}
)


# Their maps are made from pixels alone; the others' by a network of the library, a map maker.
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

    A tile has neither if it follows the picture itself, where that is drawn again larger.
    `mapper` is the digest of what makes the map of `image`, where pixels alone do not. `start` and
    `end` are shares of the steps. `low` and `high` are Canny's thresholds, for maps made here.
    """

    kind: ControlKind
    model: str
    image: str | None = None
    map: str | None = None
    mapper: str | None = None
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    low: int | None = None
    high: int | None = None

    @property
    def picture(self) -> str:
        """SHA-256 of what was given, be it a map or not."""
        return self.map or self.image or ""

    @property
    def needs_mapper(self) -> bool:
        """Whether a network has to make its map."""
        return self.map is None and self.kind not in DRAWN_HERE

    def to_wire(self) -> dict[str, object]:
        """Without what is not said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def pictures_of(controls: Sequence[ControlUse]) -> dict[str, str]:
    """What a job with them is made from, by the role that each has in it."""
    numbered = enumerate(controls, 1)
    return {role_of(number): use.picture for number, use in numbered if use.picture}


def mappers_of(controls: Sequence[ControlUse]) -> tuple[str, ...]:
    """Digests of what makes their maps, each once."""
    return tuple(dict.fromkeys(use.mapper for use in controls if use.mapper is not None))


def role_of(number: int) -> str:
    """Of the picture of the control at this place, counted from one."""
    return f"control_{number}"


def read_controls(reader: Reader) -> tuple[ControlUse, ...]:
    """`controls` of a recipe, in the order given; those that weigh nothing are left out."""
    given = reader.records("controls", CONTROLS_MAX, _WRITTEN)
    follows = asks_for_hires(reader.raw)
    read = [_Reading(item, can_follow=follows).control() for item in given]
    return tuple(use for use in read if use is not None and use.weight > 0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads one of them; `can_follow` if there is a second drawing, which has a first one."""

    item: Item
    can_follow: bool

    def control(self) -> ControlUse | None:
        item = self.item
        item.check_names(_SETTINGS)
        kind = self._kind()
        model = item.raw.get("model")
        if not is_digest(model):
            message = "name its ControlNet by the digest, as `GET controls` has it."
            item.problem("unknown_control", message, model)
        image, ready = item.picture("image", "picture"), item.picture("map", "map")
        self._check_pictures(kind, image, ready)
        mapper = self._mapper() if ready is None and kind not in DRAWN_HERE else None
        weight = item.number("weight", 1.0, WEIGHT_MIN, WEIGHT_MAX)
        start, end = item.share()
        low, high = self._thresholds(kind, is_made=ready is None)
        if item.is_wrong:
            return None
        return ControlUse(
            kind=kind,
            model=str(model),
            image=image,
            map=ready,
            mapper=mapper,
            weight=weight,
            start=start,
            end=end,
            low=low,
            high=high,
        )

    def _kind(self) -> ControlKind:
        given = self.item.raw.get("kind")
        if isinstance(given, str) and given in set(ControlKind):
            return ControlKind(given)
        named = ", ".join(ControlKind)
        message = f"there is no kind {short(given)!r}. Choose one of: {named}."
        self.item.problem("unknown_kind", message, given, list(ControlKind))
        return ControlKind.CANNY

    def _mapper(self) -> str | None:
        """Left out, the studio fills in the library's first."""
        given = self.item.raw.get("mapper")
        if given in (None, ""):
            return None
        if not is_digest(given):
            message = "name what makes its map by the digest, as `GET models` has it."
            self.item.problem("unknown_mapper", message, given)
        return str(given)

    def _check_pictures(self, kind: ControlKind, image: str | None, ready: str | None) -> None:
        if image is not None and ready is not None:
            message = "it has a picture and a map. Send the picture, or the map as `map`."
            self.item.problem("picture_and_map", message)
        elif image is None and ready is None:
            if kind is ControlKind.TILE and self.can_follow:
                return
            self.item.problem("needs_image", "it has no picture to follow. Add one.")

    def _thresholds(self, kind: ControlKind, *, is_made: bool) -> tuple[int | None, int | None]:
        """Only Canny's own maps have them; elsewhere they are dropped."""
        if kind is not ControlKind.CANNY or not is_made:
            return None, None
        low, high = (
            int(self.item.number(name, usual, THRESHOLD_MIN, THRESHOLD_MAX, is_whole=True))
            for name, usual in (("low", CANNY_LOW), ("high", CANNY_HIGH))
        )
        if low > high:
            message = f"its low threshold is {low}, above the high one, {high}. Swap them."
            self.item.problem("low_above_high", message, [low, high])
        return low, high


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
    kind = _drawn_kind(reader)
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


def _drawn_kind(reader: Reader) -> ControlKind:
    """One that pixels alone make; of the others it is said how they are made."""
    drawn = [kind.value for kind in ControlKind if kind in DRAWN_HERE]
    given = reader.raw.get("kind")
    if not isinstance(given, str) or given not in set(ControlKind) - DRAWN_HERE:
        label = "map made here called"
        kind = reader.one_of("kind", drawn, ControlKind.CANNY, "unknown_kind", label)
        return ControlKind(kind)
    message = (
        f"A network makes {given} maps, in a job: POST jobs with map_kind {given} and the picture "
        f"as image. Drawn here are: {', '.join(drawn)}."
    )
    reader.problem("kind", "unknown_kind", message, given, drawn)
    return ControlKind.CANNY
