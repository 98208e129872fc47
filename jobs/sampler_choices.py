"""Which samplers the room's form offers for which family of models. Pure."""

from __future__ import annotations

from gpuagent.protocol.families import FAMILIES, families_with
from gpuagent.protocol.taxonomy import SAMPLERS


def sampler_choices() -> list[dict[str, str]]:
    """Every sampler, with the families that it works with and those whose own it is."""
    return [
        {
            "id": sampler.id,
            "label": sampler.label,
            "families": " ".join(families_with(sampler.id)),
            "default_of": " ".join(
                family.value
                for family, rules in FAMILIES.items()
                if rules.default_sampler == sampler.id
            ),
        }
        for sampler in SAMPLERS.values()
    ]
