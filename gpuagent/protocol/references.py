"""The part of a recipe that names reference pictures: what is drawn takes after them. Pure.

A reference is looked at by the model's own self-attention, or by an IP-Adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpuagent.protocol.recipe_reader import Item, Reader, is_digest, short
from gpuagent.protocol.taxonomy import ReferenceKind

REFERENCES_MAX = 3
WEIGHT_MIN, WEIGHT_MAX = 0.0, 2.0
_SETTINGS = frozenset({"kind", "model", "image", "weight", "start", "end"})
_WRITTEN = '{"kind": "reference", "image": …}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceUse:
    """A picture by its SHA-256, how much of it, and for which share of the steps.

    `model` is the digest of the IP-Adapter that looks at it, for references of that kind.
    """

    image: str
    kind: ReferenceKind = ReferenceKind.REFERENCE
    model: str | None = None
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def to_wire(self) -> dict[str, object]:
        """Without what is not said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def references_by_role(references: Sequence[ReferenceUse]) -> dict[str, str]:
    """What a job with them is made from, by the role that each has in it."""
    return {reference_role(number): use.image for number, use in enumerate(references, 1)}


def reference_role(number: int) -> str:
    """Of the reference at this place, counted from one."""
    return f"reference_{number}"


def ip_adapters_of(references: Sequence[ReferenceUse]) -> tuple[str, ...]:
    """Digests of the IP-Adapters that look at them, each once."""
    return tuple(dict.fromkeys(use.model for use in references if use.model is not None))


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
    model = _model(item, is_adapter=kind == ReferenceKind.IP_ADAPTER)
    image = item.picture("image", "picture")
    if image is None:
        item.problem("needs_image", "it has no picture to take after. Add one.")
    weight = item.number("weight", 1.0, WEIGHT_MIN, WEIGHT_MAX)
    start, end = item.share()
    if item.is_wrong:
        return None
    return ReferenceUse(
        image=image or "",
        kind=ReferenceKind(str(kind)),
        model=model,
        weight=weight,
        start=start,
        end=end,
    )


def _model(item: Item, *, is_adapter: bool) -> str | None:
    """An IP-Adapter is named; a plain reference has none to name."""
    model = item.raw.get("model")
    if is_adapter and not is_digest(model):
        message = "name its IP-Adapter by the digest, as `GET adapters` has it."
        item.problem("unknown_ip_adapter", message, model)
    elif not is_adapter and model not in (None, ""):
        message = "a plain reference has no model. Leave it out, or say kind ip_adapter."
        item.problem("not_with_kind", message, model)
    return str(model) if is_adapter else None
