"""The product, started once for all of these tests, and those who use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from launcher.pghome import forget_outside

from .people import Artist, Program
from .product import Product

HERE = Path(__file__).parent
LAST = "test_traces.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Traces are looked for after everything that may leave some."""
    items.sort(key=lambda item: item.path == HERE / LAST)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Show the times that were measured (by `record_property`)."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    measured = [
        f"{value:6.1f} s  {name}"
        for report in reports
        if report.nodeid.startswith("tests/system/")
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured on the whole product")
        terminalreporter.write_line("\n".join(measured))


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """Started and ready."""
    folder = Path(tempfile.mkdtemp(prefix="studio-system-"))
    folder.chmod(0o711)  # the database's user must pass through it
    started = Product(folder)
    try:
        started.up()
        yield started
    finally:
        started.end()
        forget_outside(started.state)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def artist(product: Product) -> Iterator[Artist]:
    """Signed in with the password that the launcher printed."""
    person = Artist(product.url, email=product.email, password=product.password)
    yield person
    person.close()


@pytest.fixture(scope="session")
def token(artist: Artist) -> str:
    """The API token that she made on the page for it."""
    return artist.make_token()


@pytest.fixture(scope="session")
def program(product: Product, token: str) -> Iterator[Program]:
    """Her program."""
    client = Program(product.url, token)
    yield client
    client.close()
