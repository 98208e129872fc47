"""The whole product, started as a person starts it, and a browser in front of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from launcher.layout import REPOSITORY
from launcher.ports import free_port
from launcher.process import wait_until

READY_SECONDS = 180.0
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Product:
    """A running studio."""

    url: str
    said: list[str] = field(default_factory=list)

    def fact(self, label: str) -> str:
        """A line of the launcher's closing block."""
        match = re.search(rf"{label} +(\S+)", "".join(self.said))
        assert match, "".join(self.said)
        return match.group(1)

    def listen(self, process: subprocess.Popen[str]) -> None:
        """Keep what it prints."""
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(line)


def _environment(state: Path, port: int) -> dict[str, str]:
    """None of the test run's own servers: the product brings its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STUDIO_") and not name.endswith("_URL")
    }
    return {**kept, "STUDIO_STATE": str(state), "STUDIO_PORT": str(port)}


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """`make up` in a state folder of its own."""
    state = Path(tempfile.mkdtemp(prefix="studio-browser-"))
    state.chmod(0o711)  # the database runs as another user
    port = free_port()
    running = Product(url=f"http://127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", "up"],
        cwd=REPOSITORY,
        env=_environment(state, port),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    threading.Thread(target=running.listen, args=(process,), daemon=True).start()
    try:
        ready = wait_until(lambda: "Ctrl-C" in "".join(running.said), READY_SECONDS)
        assert ready, "".join(running.said)
        yield running
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = os.environ.get("STUDIO_CHROMIUM") or shutil.which("chromium")
    assert path, "No chromium: run the tests with `make test`, which installs it."
    browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    yield browser
    browser.close()


@dataclass
class Complaints:
    """Everything a page complained about; must stay empty."""

    heard: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Script errors, and what the content security policy refused."""
        page.on("pageerror", lambda error: self.heard.append(f"script: {error}"))
        page.on(
            "console",
            lambda message: (
                self.heard.append(message.text)
                if "Content Security Policy" in message.text
                else None
            ),
        )


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def context(browser: Browser, product: Product) -> Iterator[BrowserContext]:
    """A browser of its own for each test, not signed in."""
    opened = browser.new_context(
        base_url=product.url, viewport={"width": 1440, "height": 900}, accept_downloads=True
    )
    opened.set_default_timeout(15_000)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, complaints: Complaints) -> Iterator[Page]:
    """A page that fails its test if a script broke or the security policy was violated."""
    opened = context.new_page()
    complaints.listen(opened)
    yield opened
    assert complaints.heard == []


def sign_in(page: Page, product: Product) -> None:
    """As the demo artist, through the form."""
    page.goto("/")
    page.get_by_label("E-mail").fill(product.fact("E-mail"))
    page.get_by_label("Password", exact=True).fill(product.fact("Password"))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/w/**")


@pytest.fixture
def room(page: Page, product: Product) -> Page:
    """The room, signed in, its socket open."""
    sign_in(page, product)
    page.get_by_label("Prompt", exact=True).wait_for()
    return page
