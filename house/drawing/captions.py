"""Captions: many ways to say what a drawing shows."""

from __future__ import annotations

import numpy as np

from house.drawing.specs import Item, Spec, pick

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "red", "crimson", "scarlet"),
    "orange": ("orange", "orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "yellow", "golden", "lemon"),
    "green": ("green", "green", "green", "emerald"),
    "blue": ("blue", "blue", "blue", "azure", "navy"),
    "purple": ("purple", "purple", "purple", "violet"),
    "pink": ("pink", "pink", "pink", "rose"),
    "brown": ("brown", "brown", "brown", "chocolate"),
    "black": ("black", "black", "black", "dark"),
    "white": ("white", "white", "white", "ivory"),
}
KIND_WORDS: dict[str, tuple[str, ...]] = {
    "mug": ("mug", "mug", "cup", "coffee mug"),
    "bottle": ("bottle",),
    "lamp": ("lamp", "lamp", "table lamp"),
    "chair": ("chair",),
    "vase": ("vase", "vase", "flower vase", "vase with flowers"),
    "umbrella": ("umbrella",),
    "car": ("car", "car", "toy car"),
    "house": ("house", "house", "cottage"),
    "tree": ("tree", "tree", "fir tree"),
    "boat": ("boat", "boat", "sailboat", "sailing boat"),
    "balloon": ("balloon",),
    "mushroom": ("mushroom",),
    "star": ("star",),
    "apple": ("apple",),
    "fish": ("fish",),
    "hat": ("hat", "hat", "top hat"),
    "shoe": ("shoe", "shoe", "sneaker"),
    "heart": ("heart",),
}
BACKGROUND_WORDS: dict[str, tuple[str, ...]] = {
    "white": (
        "on a white background",
        "on a plain white background",
        "in a white studio",
        "isolated on white",
    ),
    "gray": ("on a gray background", "in a gray studio", "on a grey backdrop"),
    "wood": ("on a wooden table", "on a wood desk", "on wooden planks"),
    "grass": ("on grass", "in a green meadow", "in a field under a blue sky"),
    "beach": ("on a beach", "on the sand by the sea", "at the seaside"),
    "night": ("at night", "under a starry night sky", "in the moonlight"),
    "sunset": ("at sunset", "in front of a sunset", "at dusk with an orange sky"),
    "snow": ("in the snow", "on snow in winter", "in a snowy landscape"),
    "pink": ("on a pink background", "on a pastel pink backdrop", "in a pink studio"),
    "blue": ("on a blue background", "on a light blue backdrop", "in a blue studio"),
}
STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "photo": ("photo of", "product photo of", "a glossy 3d render of", "studio shot of", "", ""),
    "flat": (
        "flat illustration of",
        "flat icon of",
        "flat vector art of",
        "vector illustration of",
    ),
    "sketch": ("pencil sketch of", "ink sketch of", "hand drawn sketch of", "line drawing of"),
    "neon": ("neon sign of", "neon sign of", "glowing neon sign of"),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "tiny", "little"),
    "normal": ("",),
    "large": ("large", "large", "big", "huge"),
}
PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "on the left", "on the left side"),
    "center": ("",),
    "right": ("on the right", "on the right", "on the right side"),
}
# Words that change nothing, so that the model learns to pass over them.
# fmt: off
FILLER = (
    "beautiful", "high", "quality", "detailed", "professional", "lighting", "sharp", "focus",
    "soft", "4k", "masterpiece", "elegant", "modern", "minimal", "cute", "simple", "clean",
    "centered", "product", "ecommerce", "catalog", "shot", "nice", "new", "best", "award",
    "winning", "vivid", "commercial", "premium",
)
# fmt: on
FILLER_SHARE = 0.1
TAIL_SHARE = 0.2
NO_BACKGROUND_SHARE = 0.06
NO_COLOUR_SHARE = 0.04


def caption(spec: Spec, rng: np.random.Generator, *, complete: bool = False) -> str:
    """A caption of the picture.

    Now and then it leaves the background or a colour open, unless it is to be `complete`.
    """
    terse = rng.random() < NO_BACKGROUND_SHARE and not complete
    background = "" if terse else pick(rng, BACKGROUND_WORDS[spec.background])
    style = pick(rng, STYLE_WORDS[spec.style])
    names = [_named(item, rng, complete) for item in spec.items]
    subject = _pair(names, rng) if len(names) == 2 else _single(spec, names[0], rng)
    order = rng.random()
    if order < 0.75:
        text = f"{style} {subject} {background}"
    elif order < 0.88:
        text = ", ".join(part for part in (subject, background, style.removesuffix(" of")) if part)
    else:
        text = ", ".join(part for part in (background, f"{style} {subject}") if part)
    while rng.random() < TAIL_SHARE:
        text += ", " + " ".join(pick(rng, FILLER) for _ in range(int(rng.integers(1, 4))))
    return " ".join(text.split())


def plain_caption(spec: Spec) -> str:
    """The plainest caption of the picture."""
    style = {
        "photo": "photo of",
        "flat": "flat illustration of",
        "sketch": "pencil sketch of",
        "neon": "neon sign of",
    }[spec.style]
    names = [f"{item.colour} {item.kind}" for item in spec.items]
    if len(names) == 2:
        subject = " and ".join(_with_article(name) for name in names)
    else:
        subject = _with_article(f"{SIZE_WORDS[spec.size][0]} {names[0]}".strip())
    place, background = PLACE_WORDS[spec.place][0], BACKGROUND_WORDS[spec.background][0]
    return " ".join(f"{style} {subject} {place} {background}".split())


def _single(spec: Spec, name: str, rng: np.random.Generator) -> str:
    filler = pick(rng, FILLER) if rng.random() < FILLER_SHARE else ""
    words = f"{filler} {pick(rng, SIZE_WORDS[spec.size])} {name}"
    subject = pick(rng, (_with_article(words), _with_article(words), f"one {words}", words))
    return f"{subject} {pick(rng, PLACE_WORDS[spec.place])}".strip()


def _pair(names: list[str], rng: np.random.Generator) -> str:
    left, right = (_with_article(name) for name in names)
    forms = (
        f"{left} and {right}",
        f"{left} and {right}",
        f"{left} and {right}",
        f"{left} next to {right}",
        f"{left} left of {right}",
        f"{left} on the left and {right} on the right",
        f"{right} right of {left}",
    )
    return pick(rng, forms)


def _named(item: Item, rng: np.random.Generator, complete: bool) -> str:
    # A kind or colour that was never trained is called by its own name.
    kind = pick(rng, KIND_WORDS.get(item.kind, (item.kind,)))
    if rng.random() < NO_COLOUR_SHARE and not complete:
        return kind
    return f"{pick(rng, COLOUR_WORDS.get(item.colour, (item.colour,)))} {kind}"


def _with_article(words: str) -> str:
    words = " ".join(words.split())
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
