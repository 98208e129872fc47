"""The part of a recipe that names reference pictures: what is drawn takes after them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpuagent.protocol.recipe_reader import Item, Reader, short
from gpuagent.protocol.taxonomy import ReferenceKind

REFERENCES_MAX = 3
WEIGHT_MIN, WEIGHT_MAX = 0.0, 2.0
_SETTINGS = frozenset({"kind", "image", "weight", "start", "end"})
_WRITTEN = '{"kind": "reference", "image": …}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceUse:
    """A picture by its SHA-256, how much of it, and for which share of the steps."""

    image: str
    kind: ReferenceKind = ReferenceKind.REFERENCE
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def to_wire(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def references_by_role(references: Sequence[ReferenceUse]) -> dict[str, str]:
    """What a job with them is made from, by the role that each has in it."""
    return {reference_role(number): use.image for number, use in enumerate(references, 1)}


def reference_role(number: int) -> str:
    """Of the reference at this place, counted from one."""
    return f"reference_{number}"


def read_references(reader: Reader) -> tuple[ReferenceUse, ...]:
    """`references` of a recipe, in the order given; those that weigh nothing are left out."""
    read = [_reference(item) for item in reader.records("references", REFERENCES_MAX, _WRITTEN)]
    return tuple(use for use in read if use is not None and use.weight > 0)


def _reference(item: Item) -> ReferenceUse | None:
    item.check_names(_SETTINGS)
    kind = item.raw.get("kind", ReferenceKind.REFERENCE)
    if not isinstance(kind, str) or kind not in set(ReferenceKind):
        named = ", ".join(ReferenceKind)
        message = f"there is no kind {short(kind)!r}. Choose one of: {named}."
        item.problem("unknown_kind", message, kind, list(ReferenceKind))
    image = item.picture("image", "picture")
    if image is None:
        item.problem("needs_image", "it has no picture to take after. Add one.")
    weight = item.number("weight", 1.0, WEIGHT_MIN, WEIGHT_MAX)
    start, end = item.share()
    if item.is_wrong:
        return None
    return ReferenceUse(image=image or "", weight=weight, start=start, end=end)
