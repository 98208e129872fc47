"""Typed reading of environment variables; every mistake names the variable and what it accepts."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
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


def rate(name: str, *, default: str) -> tuple[int, int]:
    """So many in so many seconds, from `600/min`."""
    value = text(name, default).strip() or default
    found = re.fullmatch(r"([1-9]\d{0,8})/(s|sec|min|h|hour)", value)
    if found is None:
        raise ImproperlyConfigured(
            f"{name} is {value!r}; it must be like 600/min: a number of requests for s, min or h."
        )
    seconds = {"s": 1, "m": 60, "h": 3_600}[found[2][0]]
    return int(found[1]), seconds


def networks(name: str) -> list[str]:
    """IP addresses and networks, separated by commas; none if it is not set."""
    parts = [part.strip() for part in text(name, "").split(",") if part.strip()]
    for part in parts:
        try:
            ip_network(part)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} holds {part!r}; it must be IP addresses or networks like 10.0.0.0/8, "
                "separated by commas."
            ) from None
    return parts


def hosts(name: str) -> frozenset[str]:
    """Names of hosts, each with a port if only that one is meant, separated by commas."""
    parts = [part.strip().lower() for part in text(name, "").split(",") if part.strip()]
    for part in parts:
        if re.fullmatch(r"(\[[0-9a-f:.]+\]|[^\s/:@\[\]]+)(:\d{1,5})?", part) is None:
            raise ImproperlyConfigured(
                f"{name} holds {part!r}; it must be hosts like sso.example.internal or "
                "sso.example.internal:8443, separated by commas."
            )
    return frozenset(parts)


def listening(name: str) -> tuple[str, int] | None:
    """Where to listen, from `127.0.0.1:9101`; None if it is not set."""
    value = text(name, "").strip()
    host, _, port = value.rpartition(":")
    if not value:
        return None
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be like 127.0.0.1:9101.")
    return host.strip("[]"), int(port)


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


def mail(name: str) -> dict[str, object]:
    """Django's mail settings from `smtp://user:password@host:587?tls=1` or `smtps://…:465`.

    Without it mail is written as files.
    """
    address = os.environ.get(name, "")
    if not address:
        return {"EMAIL_BACKEND": "studio.core.mail_folder.FolderBackend"}
    parts = urlsplit(address)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ImproperlyConfigured(
            f"{name} must look like smtp://user:password@host:587?tls=1 or smtps://…:465; "
            f"it starts with {parts.scheme or 'nothing'}://."
        )
    is_smtps = parts.scheme == "smtps"
    wants_tls = parse_qs(parts.query).get("tls", ["0"])[-1] == "1"
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if is_smtps else 587 if wants_tls else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": is_smtps,
        "EMAIL_USE_TLS": wants_tls and not is_smtps,
    }


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
