"""Where bytes may come from and go to: the studio, presigned addresses, two folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

AGENT_API = "/agent/v1/"


class PlaceRefusedError(ValueError):
    """An address lies outside what this agent may touch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The addresses this agent may read and write; all others are refused."""

    studio_url: str
    token: str = field(repr=False)
    store_root: Path | None = None
    models_root: Path | None = None

    def absolute(self, url: str) -> str:
        """The address with the studio's own in front if it had none."""
        return urljoin(self.studio_url.rstrip("/") + "/", url)

    def headers(self, url: str) -> dict[str, str]:
        """The agent's token for the studio's agent API; nothing for anybody else (presigned)."""
        target, studio = urlsplit(url), urlsplit(self.studio_url)
        is_studio = (target.scheme, target.netloc) == (studio.scheme, studio.netloc)
        if is_studio and target.path.startswith(AGENT_API):
            return {"Authorization": f"Bearer {self.token}"}
        return {}

    def readable(self, url: str) -> Path:
        """The local file of a `file://` address that may be read.

        Raises:
            PlaceRefusedError: it lies outside the models' folder and the store.
        """
        return _inside(url, (self.models_root, self.store_root))

    def writable(self, url: str) -> Path:
        """The local file of a `file://` address that may be written.

        Raises:
            PlaceRefusedError: it lies outside the store.
        """
        return _inside(url, (self.store_root,))


def is_file(url: str) -> bool:
    """True for `file://` addresses."""
    return urlsplit(url).scheme == "file"


def is_http(url: str) -> bool:
    """True for HTTP(S) addresses."""
    return urlsplit(url).scheme in ("http", "https")


def _inside(url: str, roots: tuple[Path | None, ...]) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or "\x00" in url:
        raise PlaceRefusedError("not a local file")
    path = Path(unquote(parts.path))
    if not path.is_absolute() or ".." in path.parts:
        raise PlaceRefusedError("not a plain absolute path")
    # Links are followed before the comparison: a link inside a root may point out of it.
    real = path.parent.resolve() / path.name
    if path.is_symlink():
        real = path.resolve()
    for root in roots:
        if root is not None and real.is_relative_to(root.resolve()):
            return real
    raise PlaceRefusedError("outside the folders this agent may touch")
