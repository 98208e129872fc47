"""Presets of models and adapters as the room's form shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from library.presets import Preset, describe_recipe


def preset_choice(preset: Preset) -> dict[str, str]:
    """A button: its name, what it sets, and that in words."""
    return {
        "name": preset["name"],
        "recipe_json": json.dumps(preset["recipe"]),
        "summary": describe_recipe(preset["recipe"]),
    }


def with_settings(choices: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adapters with what the form needs to use the settings that they were made for."""
    return [
        {**choice, "settings": preset_choice(choice["presets"][0]) if choice["presets"] else None}
        for choice in choices
    ]
