"""Sharing pictures of a project: from the room to a stranger's browser and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import Complaints, Product
from tests.browser.test_first_picture import generate, tile, wait_for_picture, write_prompt

pytestmark = pytest.mark.browser

PASSWORD = "open sesame please"


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def visitor(
    browser: Browser, product: Product, complaints: Complaints, request: pytest.FixtureRequest
) -> Iterator[Page]:
    """Somebody else's browser, which knows nothing of the studio."""
    context: BrowserContext = browser.new_context(
        base_url=product.url, java_script_enabled=request.param
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints.listen(page)
    yield page
    context.close()


def make_project(room: Page, name: str) -> None:
    """By the page of projects; the room is loaded again."""
    address = room.url
    room.goto(address + "projects")
    room.get_by_label("Name", exact=True).first.fill(name)
    room.get_by_role("button", name="Create").click()
    expect(room.locator(f'input[value="{name}"]')).to_be_visible()
    room.goto(address)
    room.get_by_label("Prompt", exact=True).wait_for()


def test_a_project_is_filled_searched_shared_and_taken_back(
    room: Page, visitor: Page, request: pytest.FixtureRequest
) -> None:
    has_scripts = "with scripts" in request.node.name
    # Given: a project, chosen in the gallery, and a picture made into it
    name = f"Spring {'A' if has_scripts else 'B'}"
    make_project(room, name)
    room.get_by_label("Project", exact=True).select_option(label=name)
    expect(room.get_by_text(f"into: {name}")).to_be_visible()
    write_prompt(room, "photo of a red mug on a wooden table", steps=4, size=128)
    job = generate(room)
    wait_for_picture(room, job)
    expect(room.locator("#gallery job-tile")).to_have_count(1)
    # And: found by a word of its prompt, also after the page was loaded again
    room.reload()
    expect(room.get_by_text(f"into: {name}")).to_be_visible()
    room.get_by_label("Search prompts").fill("MUGS")
    expect(room.locator(tile(room, job))).to_have_count(1)
    room.get_by_label("Search prompts").fill("boat")
    expect(room.locator("#gallery job-tile")).to_have_count(0)
    assert "boat" not in room.url

    # When: the project is shared with a password and a watermark
    room.get_by_text("Projects and share links").click()
    room.get_by_role("link", name="Share…").click()
    expect(room.get_by_label("A project, as it grows")).to_be_checked()
    room.get_by_label("Title").fill("For the client")
    room.locator("#id_password").fill(PASSWORD)
    room.get_by_label("Watermark over every picture").check()
    room.get_by_role("button", name="Make the link").click()
    address = room.locator("[data-copy]").inner_text()

    # Then: a stranger needs the password, and sees the picture large
    visitor.goto(address)
    visitor.get_by_label("Password").fill("not this one")
    visitor.get_by_role("button", name="Open").click()
    expect(visitor.get_by_text("That is not the password")).to_be_visible()
    visitor.get_by_label("Password").fill(PASSWORD)
    visitor.get_by_role("button", name="Open").click()
    expect(visitor.get_by_role("heading", name="For the client")).to_be_visible()
    visitor.get_by_role("link", name="Picture of").click()
    picture = visitor.get_by_role("img", name="Picture of")
    expect(picture).to_be_visible()
    answer = visitor.request.get(picture.get_attribute("src") or "")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    if has_scripts:
        assert picture.evaluate("image => image.naturalWidth") == 128
        visitor.keyboard.press("Escape")
        visitor.wait_for_url(address)

    # And when it is revoked, all of it is gone
    room.get_by_role("link", name="All links").click()
    expect(room.get_by_text("opened 1 time").first).to_be_visible()
    room.get_by_role("button", name="Revoke For the client").click()
    expect(room.get_by_text("leads nowhere any more")).to_be_visible()
    visitor.goto(address)
    expect(visitor.get_by_role("heading", name="Nothing is shared here")).to_be_visible()
    assert visitor.request.get(answer.url).status == 404
