"""After all of it: no prompt, token or session in anything that was printed or written."""

from __future__ import annotations

import mmap
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .people import CANARY, Artist, Program
from .product import Product

pytestmark = pytest.mark.slow_process


def holds(path: Path, wanted: bytes) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(wanted) >= 0


def files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def test_no_prompt_token_or_session_is_left_in_the_clear(
    product: Product, artist: Artist, program: Program, token: str
) -> None:
    # Given that each was used, in ways that are answered with errors too
    artist.get(f"/w/{product.workspace}/")
    program.submit(wait=30)
    refused = program.http.post("jobs", json={"prompt": CANARY, "width": 7, CANARY: 1})
    assert refused.status_code == 422
    assert program.http.get(f"jobs/{CANARY}").status_code == 404
    cookie = artist.cookie
    assert product.stop(signal.SIGTERM) == 0  # so that everything is on disk

    printed = "".join(product.lines)
    written = list(files(product.state, product.postgres))
    databases = (product.postgres, product.state / "valkey")
    found = {name for name in (CANARY, token, cookie) if name in printed}
    assert not found
    for path in written:
        assert not holds(path, CANARY.encode()), path
        assert not holds(path, token.encode()), path
        if not any(path.is_relative_to(folder) for folder in databases):
            assert not holds(path, cookie.encode()), path  # a session's key is in its table
    # And the search would have found something
    assert any(holds(path, product.email.encode()) for path in files(product.postgres))
    assert any(holds(path, b"att_") for path in files(product.state / "valkey"))
    assert "model.warm" in printed
