"""The part of a recipe that names parts of other models: another VAE, a refiner. Pure."""

from __future__ import annotations

from typing import Any

from gpuagent.protocol.recipe_reader import Reader, as_float, is_digest, short

REFINER_START = 0.8
REFINER_START_MIN, REFINER_START_MAX = 0.05, 0.95
_KINDS = {"vae": "VAE", "refiner": "refiner"}


def read_parts(reader: Reader) -> dict[str, Any]:
    """`vae`, `refiner` and `refiner_start` of a recipe."""
    read: dict[str, Any] = {field: _digest(reader, field) for field in _KINDS}
    read["refiner_start"] = reader.number(
        "refiner_start",
        default=REFINER_START,
        minimum=REFINER_START_MIN,
        maximum=REFINER_START_MAX,
        label="The refiner's start",
        convert=as_float,
    )
    if read["refiner"] is None:
        return {**read, "refiner_start": REFINER_START}
    if read["refiner"] == reader.raw.get("model"):
        message = "The refiner is the model itself, which finishes alone. Choose another, or none."
        reader.problem("refiner", "same_model", message)
    return read


def _digest(reader: Reader, field: str) -> str | None:
    value = reader.raw.get(field)
    if value in (None, ""):
        return None
    if not is_digest(value):
        message = f"Name the {_KINDS[field]} by its digest, 64 hexadecimal digits."
        reader.problem(field, f"unknown_{field}", message, short(value))
        return None
    return str(value)
