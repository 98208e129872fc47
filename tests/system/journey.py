"""One person's way through everything in a browser, with a canary in all that they bring."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from accounts.token_text import PATTERN

from .product import Product
from .sinks import Wire

WORD = "zanzillow"
PROMPT = f"velvet-{WORD}-4c1e"
NEGATIVE = "brittle-ocelot-9d27"
FILE_NAME = "secret-otter-55b0"
METADATA = "quiet-magpie-e8a3"
WRONG_PASSWORD = "wrong-tapir-71f6 indeed"
MISTYPED_LOGIN = "lost-gecko-b3d9@nowhere.example"
WEB_ADDRESS = "https://localhost/hidden-lemur-20ce/picture.png"
PROJECT = "shaded-ibis-3fa7"
TITLE = "folded-heron-88c2"
LINK_PASSWORD = "early-marmot-1b6d"
TEXTS = (
    WORD, PROMPT, NEGATIVE, FILE_NAME, METADATA, WRONG_PASSWORD, MISTYPED_LOGIN, WEB_ADDRESS,
    PROJECT, TITLE, LINK_PASSWORD,
)  # fmt: skip
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_PIECE_BYTES = 24
_ESCAPED = frozenset(b"\a\b\"'\\")


def picture() -> tuple[bytes, bytes]:
    """A PNG with a text chunk, and its pixels: noise, which no format makes smaller."""
    info, encoded, pixels = PngInfo(), io.BytesIO(), os.urandom(64 * 64 * 3)
    info.add_text("Comment", METADATA)
    Image.frombytes("RGB", (64, 64), pixels).save(encoded, "PNG", pnginfo=info)
    return encoded.getvalue(), pixels


def piece_of(content: bytes) -> bytes:
    """Some bytes of a picture's own that look the same however they are quoted."""
    for start in range(len(content) // 2, len(content) - _PIECE_BYTES):
        piece = content[start : start + _PIECE_BYTES]
        if not _ESCAPED & set(piece):
            return piece
    raise AssertionError("a picture made of quotes")


@dataclass
class Journey:
    """What the person does, and what their browser says and hears on the way."""

    product: Product
    context: BrowserContext
    page: Page
    wire: Wire
    secrets: dict[str, bytes] = field(default_factory=dict)

    def sign_in(self) -> None:
        """With a wrong password, as nobody, and then rightly."""
        self.page.goto("/")
        self._fill_sign_in(self.product.email, WRONG_PASSWORD)
        self.page.get_by_text(re.compile("not correct|password")).first.wait_for()
        self._fill_sign_in(MISTYPED_LOGIN, WRONG_PASSWORD)
        self._fill_sign_in(self.product.email, self.product.password)
        self.page.wait_for_url("**/w/**")
        self.page.get_by_label("Prompt", exact=True).wait_for()
        for cookie in self.context.cookies():
            if cookie["name"] == "sessionid":
                self.secrets["cookie"] = cookie["value"].encode()

    def name_an_address(self) -> None:
        """Of a picture on the web; it is refused."""
        self.page.locator('[data-action="open-address"]').click()
        self.page.locator("#id_image_address").fill(WEB_ADDRESS)
        with self.page.expect_response(lambda r: r.url.endswith("/from-address")) as refused:
            self.page.locator('start-picture [data-action="fetch"]').click()
        assert refused.value.status == 422

    def bring_a_picture(self) -> None:
        """Secret are its bytes, its pixels, and what was stored of it."""
        content, pixels = picture()
        number = len(self.secrets)
        chosen = self.page.get_by_label("Starting picture: choose a file")
        with self.page.expect_response(lambda r: r.url.endswith("/uploads")) as answer:
            chosen.set_input_files(
                {"name": f"{FILE_NAME}.png", "mimeType": "image/png", "buffer": content}
            )
        assert answer.value.status in (200, 201), answer.value.text()
        stored = self.page.request.get(answer.value.json()["url"]).body()
        brought = {"sent": content, "pixels": pixels, "stored": stored}
        for name, secret in brought.items():
            self.secrets[f"{name} {number}"] = piece_of(secret)

    def ask(self, *, steps: int = 4) -> str:
        """Fill the form and press; the job's id."""
        self.page.locator("#id_prompt").fill(PROMPT)
        self.page.locator("#id_negative_prompt").fill(NEGATIVE)
        self.page.locator("#id_num_inference_steps").fill(str(steps))
        with self.page.expect_response(lambda r: r.url.endswith("/jobs")) as answer:
            self.page.locator("#generate").click()
        assert answer.value.status == 201, answer.value.text()
        found = re.search(r'data-job="(job_\w+)"', answer.value.text())
        assert found
        return found.group(1)

    def wait_for(self, job: str, status: str = "succeeded") -> None:
        tile = f'#gallery job-tile[data-job="{job}"][data-status="{status}"]'
        self.page.locator(tile).first.wait_for(timeout=60_000)

    def mistype(self) -> None:
        """A form that is refused with what was typed in it."""
        self.page.locator("#id_width").fill("100")
        self.page.locator("#generate").click()
        expect(self.page.locator("#id_width")).to_have_attribute("aria-invalid", "true")
        self.page.locator("#id_width").fill("128")

    def look_at(self, job: str) -> None:
        """Open, download, run again, delete."""
        self._open(job)
        with self.page.expect_download() as started:
            self.page.get_by_role("link", name="Download").click()
        self.secrets["output"] = piece_of(Path(started.value.path()).read_bytes())
        with self.page.expect_response(lambda r: r.url.endswith("/rerun")) as again:
            self.page.get_by_role("button", name="Run again").click()
        assert again.value.ok
        self.to_the_room()
        self._open(job)
        with self.page.expect_response(lambda r: r.url.endswith("/trash")) as trashed:
            self.page.get_by_role("button", name="Delete").click()
        assert trashed.value.ok

    def make_a_token(self) -> str:
        """On the page for it; shown once."""
        self.page.goto("/settings/tokens")
        self.page.get_by_label("Name", exact=True).fill("Journey")
        self.page.locator('input[name="scope_set"][value="everything"]').check()
        self.page.get_by_role("button", name="Make token").click()
        shown = self.page.locator("[data-shown-once] [data-copy]").inner_text()
        assert re.fullmatch(PATTERN, shown)
        self.secrets["token"] = shown.encode()
        return shown

    def search(self, job: str) -> None:
        """For a word of the prompt, and for one that is in none."""
        field = self.page.get_by_label("Search prompts")
        tile = self.page.locator(f'#gallery job-tile[data-job="{job}"]')
        field.fill(NEGATIVE.upper() + WRONG_PASSWORD)
        expect(tile).to_have_count(0)
        field.fill(WORD.upper())
        expect(tile.first).to_be_visible()

    def make_a_project(self) -> None:
        """On the page of projects."""
        self.page.goto(self.page.url + "projects")
        self.page.get_by_label("Name", exact=True).first.fill(PROJECT)
        self.page.get_by_role("button", name="Create").click()
        expect(self.page.locator(f'input[value="{PROJECT}"]')).to_be_visible()
        self.to_the_room()
        self.page.get_by_label("Project", exact=True).select_option(label=PROJECT)
        expect(self.page.get_by_text(f"into: {PROJECT}")).to_be_visible()

    def share(self) -> str:
        """The project, with a password; the link's address, which is shown once."""
        self.page.get_by_text("Projects and share links").click()
        self.page.get_by_role("link", name="Share…").click()
        self.page.get_by_label("Title").fill(TITLE)
        self.page.locator("#id_password").fill(LINK_PASSWORD)
        self.page.get_by_role("button", name="Make the link").click()
        address = self.page.locator("[data-copy]").inner_text()
        self.secrets["link"] = address.rpartition("/")[2].encode()
        return address

    def to_the_room(self) -> None:
        self.page.goto("/")
        self.page.get_by_label("Prompt", exact=True).wait_for()

    def press(self) -> int:
        """Press Generate with what stands in the form; the answer's status."""
        self.page.locator("#id_prompt").fill(PROMPT)
        self.page.locator("#id_negative_prompt").fill(NEGATIVE)
        with self.page.expect_response(lambda r: r.url.endswith("/jobs")) as answer:
            self.page.locator("#generate").click()
        return answer.value.status

    def _open(self, job: str) -> None:
        tile = self.page.locator(f'#gallery job-tile[data-job="{job}"]').first
        tile.locator("a.tile__frame").click()
        self.page.locator("picture-viewer").wait_for()

    def _fill_sign_in(self, email: str, password: str) -> None:
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password", exact=True).fill(password)
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Sign in", exact=True).click()


@contextmanager
def journey(product: Product) -> Iterator[Journey]:
    """In a browser of its own, recorded."""
    chromium = os.environ.get("STUDIO_CHROMIUM") or shutil.which("chromium")
    assert chromium, "No chromium: run the tests with `make test`, which installs it."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        context = browser.new_context(base_url=product.url, accept_downloads=True)
        context.set_default_timeout(20_000)
        page, wire = context.new_page(), Wire()
        wire.listen(page)
        secrets = {text: text.encode() for text in TEXTS}
        try:
            yield Journey(product, context, page, wire, secrets)
        finally:
            browser.close()
