"""The colors that tell workspaces apart. How each looks, dark and light, is the style sheet's."""

from __future__ import annotations

COLORS = (
    "violet",
    "blue",
    "cyan",
    "teal",
    "green",
    "olive",
    "orange",
    "red",
    "pink",
    "gray",
)
