"""Every kind of object the drawing program knows, by name."""

from __future__ import annotations

from collections.abc import Callable

from . import homeware, outdoors, wares
from .paths import Part, Vary

Draw = Callable[[Vary], list[Part]]

# The kinds the model is trained on.
OBJECTS: dict[str, Draw] = {
    "mug": homeware.mug,
    "bottle": homeware.bottle,
    "lamp": homeware.lamp,
    "chair": homeware.chair,
    "vase": homeware.vase,
    "umbrella": homeware.umbrella,
    "car": outdoors.car,
    "house": outdoors.house,
    "tree": outdoors.tree,
    "boat": outdoors.boat,
    "balloon": outdoors.balloon,
    "mushroom": outdoors.mushroom,
    "star": outdoors.star,
    "apple": wares.apple,
    "fish": wares.fish,
    "hat": wares.hat,
    "shoe": wares.shoe,
    "heart": wares.heart,
}

# Kinds drawn but never trained on.
HELD_OUT: dict[str, Draw] = {
    "teapot": homeware.teapot,
    "rocket": outdoors.rocket,
    "cactus": wares.cactus,
}

# Kinds drawn in the air; the others stand on the ground.
FLOATING: frozenset[str] = frozenset({"star", "fish", "balloon", "rocket", "umbrella", "heart"})
