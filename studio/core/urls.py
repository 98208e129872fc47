"""Absolute addresses."""

from __future__ import annotations

from urllib.parse import urljoin

from django.conf import settings


def absolute(path: str) -> str:
    """The address of a path of this installation, for programs elsewhere."""
    return urljoin(settings.STUDIO_URL, path)
