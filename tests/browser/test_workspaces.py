"""Workspaces in the browser: going from one to another, who can see one, deleting, the export."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Complaints, Product

pytestmark = pytest.mark.browser


def list_path(page: Page) -> str:
    path = page.locator(".switcher__manage").first.get_attribute("href")
    assert path
    return path


def make(page: Page, *names: str) -> None:
    """Through the form, without looking at it."""
    token = page.locator('meta[name="csrf-token"]').get_attribute("content") or ""
    for name in names:
        form: dict[str, str | float | bool] = {
            "name": name,
            "color": "teal",
            "csrfmiddlewaretoken": token,
        }
        assert page.request.post(list_path(page), form=form).ok


def switcher(page: Page) -> Page:
    """Opened by the keyboard."""
    page.locator("room-switcher summary").focus()
    page.keyboard.press("Enter")
    return page


def test_one_goes_from_workspace_to_workspace_by_keyboard(room: Page) -> None:
    word = uuid4().hex[:8]
    make(room, f"Cars {word}", *(f"Filler {word} {number}" for number in range(8)))
    room.reload()
    expect(room.get_by_text("Demo studio").first).to_be_visible()
    switcher(room)
    box = room.get_by_label("Find a workspace")
    expect(box).to_be_focused()
    room.keyboard.type(f"cars {word}")
    expect(room.locator('[data-part="room"]:visible')).to_have_count(1)
    room.keyboard.press("ArrowDown")
    expect(room.locator("a:focus")).to_contain_text(f"Cars {word}")
    room.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(room.locator("room-switcher summary")).to_be_focused()
    room.keyboard.press("Enter")
    expect(box).to_be_focused()
    room.keyboard.press("Enter")
    room.wait_for_load_state()
    expect(room.locator(".workspace__name")).to_have_text(f"Cars {word}")
    switcher(room)
    expect(room.locator(".switcher__link[aria-current]")).to_contain_text(f"Cars {word}")


def test_the_switch_restricts_and_says_so_at_the_top(room: Page) -> None:
    name = f"Perfume {uuid4().hex[:8]}"
    make(room, name)
    room.goto(list_path(room))
    row = room.get_by_role("listitem").filter(has_text=name).last
    row.get_by_role("link", name="Access and settings").click()
    expect(room.get_by_role("heading", name=f"Who can see {name}")).to_be_visible()
    assert room.locator(".workspace use[href='#i-lock']").count() == 0
    room.get_by_role("button", name="Restrict").click()
    expect(room.get_by_role("heading", name="Restricted")).to_be_visible()
    expect(room.locator(".workspace use[href='#i-lock']")).to_have_count(1)
    expect(room.get_by_text("owner of the organization").first).to_be_visible()
    room.get_by_role("button", name="Open to").click()
    expect(room.get_by_role("heading", name="Open to")).to_be_visible()


def test_a_deleted_workspace_closes_in_every_tab_and_comes_back(
    room: Page, context: BrowserContext, complaints: Complaints
) -> None:
    name = f"Mistake {uuid4().hex[:8]}"
    make(room, name)
    room.goto(list_path(room))
    other = context.new_page()
    complaints.listen(other)
    path = room.get_by_role("link", name=name, exact=True).last.get_attribute("href") or ""
    other.goto(path)
    expect(other.locator("agent-state")).to_have_attribute("data-link", "live")

    room.goto(f"{path}access")
    room.get_by_label("Type its name").fill("something else")
    room.get_by_role("button", name="Delete workspace").click()
    expect(room.get_by_text(f"Type the name of the workspace, {name}")).to_be_visible()
    expect(room.get_by_label("Type its name")).to_have_value("something else")
    room.get_by_label("Type its name").fill(name)
    room.get_by_role("button", name="Delete workspace").click()
    expect(room.get_by_text(f"{name} is deleted")).to_be_visible()
    expect(other.locator("agent-state")).to_have_attribute("data-link", "no-access")
    assert other.goto(path).status == 404  # type: ignore[union-attr]  # a page always answers

    room.get_by_role("button", name=f"Bring back {name}").click()
    expect(room.get_by_text(f"{name} is back")).to_be_visible()
    assert other.goto(path).status == 200  # type: ignore[union-attr]  # as above


def test_an_owner_downloads_the_export(room: Page, product: Product, tmp_path: Path) -> None:
    room.locator("#id_prompt").fill("photo of a red mug on a wooden table")
    room.locator("#id_num_inference_steps").fill("4")
    room.locator("#generate").click()
    room.locator('#gallery job-tile[data-status="succeeded"]').first.wait_for(state="attached")
    room.goto(list_path(room).replace("/workspaces", "/export"))
    room.get_by_role("link", name=re.compile("Confirm that it is you")).click()
    room.get_by_label("Password", exact=True).fill(product.fact("Password"))
    room.get_by_role("button", name="Go on").click()
    with room.expect_download() as download:
        room.get_by_role("button", name="Download the export").click()
    target = tmp_path / "export.zip"
    download.value.save_as(target)
    archive = zipfile.ZipFile(target)
    assert archive.testzip() is None
    assert [name for name in archive.namelist() if name.endswith(".png")]
    assert archive.read("errors.txt") == b"Nothing is missing and nothing is damaged.\n"
