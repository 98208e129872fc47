"""The product, started once for all of these tests, and those who use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from launcher.pghome import forget_outside

from .people import Artist, Program
from .product import Product

HERE = Path(__file__).parent
LAST = "test_traces.py"
_SHOWN = 12_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Traces are looked for after everything that may leave some."""
    items.sort(key=lambda item: item.path == HERE / LAST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure, show what the processes said last."""
    report = yield
    if report.failed and item.path.parent == HERE:
        product = getattr(item, "funcargs", {}).get("product")
        if isinstance(product, Product):
            report.sections.append(("What the product said", product.text()[-_SHOWN:]))
    return report


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
def started() -> Iterator[Product]:
    """Started once, in a folder of its own that is deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="studio-system-"))
    folder.chmod(0o711)  # the database's user must pass through it
    product = Product(folder)
    try:
        yield product
    finally:
        product.end()
        forget_outside(product.state)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def product(started: Product) -> Product:
    """Ready; started again if an earlier test has left it stopped."""
    started.ensure_up()
    return started


@pytest.fixture(scope="session")
def artist(started: Product) -> Iterator[Artist]:
    """Signed in with the password that the launcher printed."""
    started.ensure_up()
    person = Artist(started.url, email=started.email, password=started.password)
    yield person
    person.close()


@pytest.fixture(scope="session")
def token(artist: Artist) -> str:
    """The API token that she made on the page for it."""
    return artist.make_token()


@pytest.fixture(scope="session")
def program(started: Product, token: str) -> Iterator[Program]:
    """Her program."""
    client = Program(started.url, token)
    yield client
    client.close()
