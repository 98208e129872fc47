"""Typed reading of environment variables; every mistake names the variable and what it accepts."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str | None = None) -> str:
    """A variable that must be set, unless there is a default."""
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"{name} is not set. `make up` sets it; see docs/how-to/run.md.")
    return value


def boolean(name: str, *, default: bool) -> bool:
    """`1/true/yes/on` or `0/false/no/off`."""
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("0", "false", "no", "off"):
        return False
    raise ImproperlyConfigured(
        f"{name} is {value!r}; it accepts 1, true, yes, on, 0, false, no, off."
    )


def integer(name: str, *, default: int) -> int:
    """A whole number."""
    value = os.environ.get(name, "").strip()
    try:
        return int(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number.") from None


def integers(name: str, *, default: tuple[int, ...]) -> tuple[int, ...]:
    """Whole numbers with commas between; set but empty means none."""
    value = os.environ.get(name)
    if value is None:
        return default
    try:
        return tuple(int(part) for part in value.split(",") if part.strip())
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} is {value!r}; it must be whole numbers with commas between, or empty."
        ) from None


def secret(name: str) -> str:
    """The variable itself, or the content of the file that `NAME_FILE` points at."""
    if value := os.environ.get(name):
        return value
    path = os.environ.get(f"{name}_FILE")
    if not path:
        raise ImproperlyConfigured(f"Neither {name} nor {name}_FILE is set.")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error.strerror}.") from error


def database(name: str) -> dict[str, object]:
    """Django's database settings from `postgresql://user:password@host:port/name?sslmode=…`."""
    parts = urlsplit(text(name))
    if parts.scheme not in ("postgresql", "postgres"):
        raise ImproperlyConfigured(f"{name} must start with postgresql://, not {parts.scheme}://.")
    return {
        "ENGINE": "studio.core.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": {key: values[-1] for key, values in parse_qs(parts.query).items()},
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
