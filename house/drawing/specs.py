"""What a drawing shows, said in words that a program can compare."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from house.drawing.objects import OBJECTS
from house.drawing.scenes import SCENES

T = TypeVar("T")

# "neon" is drawn but never trained: a style adapter learns it.
Style = Literal["photo", "flat", "sketch", "neon"]
Size = Literal["small", "normal", "large"]
Place = Literal["left", "center", "right"]

KINDS: tuple[str, ...] = tuple(OBJECTS)
BACKGROUNDS: tuple[str, ...] = tuple(SCENES)
COLOURS: tuple[str, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
)
STYLES: tuple[Style, ...] = ("photo", "flat", "sketch")
SIZES: tuple[Size, ...] = ("small", "normal", "large")
PLACES: tuple[Place, ...] = ("left", "center", "right")

STYLE_SHARES = (0.46, 0.27, 0.27)
TWO_ITEMS_SHARE = 0.25
SIZED_SHARE = 0.3
PLACED_SHARE = 0.3
# One combination of object, colour and background in ten is never drawn for training.
UNSEEN_IN = 10


@dataclass(frozen=True)
class Item:
    """One object in its colour."""

    kind: str
    colour: str


@dataclass(frozen=True)
class Spec:
    """A whole picture: one item, or two of which the first stands on the left."""

    items: tuple[Item, ...]
    background: str
    style: Style = "photo"
    size: Size = "normal"
    place: Place = "center"

    @property
    def unseen(self) -> bool:
        """Whether training never sees this combination of object, colour and background."""
        return any(_is_unseen(item, self.background) for item in self.items)


def random_spec(rng: np.random.Generator, *, unseen: bool = False, two: bool | None = None) -> Spec:
    """A picture at random among the trained kinds.

    `unseen` asks for a combination that training leaves out (or, by default, for one that it has);
    `two` for two objects, one, or (by default) either.
    """
    while True:
        spec = _any_spec(rng, rng.random() < TWO_ITEMS_SHARE if two is None else two)
        if spec.unseen == unseen:
            return spec


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def _any_spec(rng: np.random.Generator, two: bool) -> Spec:
    style = STYLES[int(rng.choice(len(STYLES), p=STYLE_SHARES))]
    background = pick(rng, BACKGROUNDS)
    if two:
        return Spec(_two_items(rng), background, style)
    size: Size = pick(rng, ("small", "large")) if rng.random() < SIZED_SHARE else "normal"
    placed = size != "large" and rng.random() < PLACED_SHARE
    place: Place = pick(rng, ("left", "right")) if placed else "center"
    return Spec((Item(pick(rng, KINDS), pick(rng, COLOURS)),), background, style, size, place)


def _two_items(rng: np.random.Generator) -> tuple[Item, Item]:
    first, second = rng.choice(len(KINDS), 2, replace=False)
    return Item(KINDS[first], pick(rng, COLOURS)), Item(KINDS[second], pick(rng, COLOURS))


def _is_unseen(item: Item, background: str) -> bool:
    return zlib.crc32(f"{item.kind} {item.colour} {background}".encode()) % UNSEEN_IN == 0
