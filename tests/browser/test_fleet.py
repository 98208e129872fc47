"""The fleet in the browser: an operator drains the machine and brings it back, and pins a model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_accessibility import check_all

pytestmark = pytest.mark.browser


def open_fleet(page: Page) -> None:
    """By way of the account menu, as an operator would."""
    page.locator("summary", has_text="Account").click()
    page.get_by_role("link", name="Members of").click()
    page.get_by_role("link", name="Fleet", exact=True).click()
    expect(page.get_by_role("heading", name="Fleet", exact=True)).to_be_visible()


def local_agent(page: Page) -> Locator:
    return page.locator(".agent").filter(has_text="local")


def submit(page: Page) -> None:
    """A short job, from the room's own form, without leaving this page."""
    path = page.evaluate("() => document.querySelector('.brand').getAttribute('href')")
    other = page.context.new_page()
    other.goto(path)
    other.locator("#id_prompt").fill("photo of a red mug on a wooden table")
    other.locator("#id_num_inference_steps").fill("4")
    other.locator("#generate").click()
    other.locator("job-tile").first.wait_for(state="attached")
    other.close()


def waiting(page: Page) -> Locator:
    return page.locator('[data-key="fast"] [data-live="waiting"]')


def test_a_drained_agent_gets_nothing_until_it_is_brought_back(room: Page) -> None:
    open_fleet(room)
    agent = local_agent(room)
    expect(agent.locator(".agent__state")).to_have_text(re.compile("Idle|Working"))
    try:
        agent.get_by_role("button", name="Drain local").click()
        expect(room.get_by_text("gets nothing more.")).to_be_visible()
        # Without loading the page again: it has nothing to finish.
        expect(agent.locator(".agent__state")).to_have_text("Drained")
        expect(room.get_by_text("has finished all it had").first).to_be_visible()
        back = agent.get_by_role("button", name="Take work again with local")
        back.focus()
        submit(room)
        expect(waiting(room)).to_have_text(re.compile(r"^\s*1\b"))
        expect(room.get_by_text("No machine takes work now")).to_be_visible()
        expect(back).to_be_focused()
        back.press("Enter")
        expect(room.get_by_text("local takes work again.")).to_be_visible()
        expect(waiting(room)).to_have_text(re.compile(r"^\s*0\b"))
        expect(local_agent(room).locator(".agent__state")).to_have_text("Idle")
    finally:
        serve_again(room)


def serve_again(page: Page) -> None:
    """Other tests need the agent, whatever became of this one."""
    page.reload()
    again = local_agent(page).get_by_role("button", name="Take work again with local")
    if again.count():
        again.click()


def test_a_model_is_pinned_and_said_to_be_warm(room: Page) -> None:
    open_fleet(room)
    room.get_by_role("link", name="Warm models").click()
    row = room.get_by_role("listitem").filter(has_text="House").first
    row.get_by_label("Agents").fill("none")
    row.get_by_role("button", name="Pin House").click()
    expect(row.get_by_text("Give a whole number.")).to_be_visible()
    expect(row.get_by_label("Agents")).to_have_value("none")
    row.get_by_label("Agents").fill("1")
    row.get_by_role("button", name="Pin House").click()
    expect(room.get_by_text("kept warm on 1 agent.")).to_be_visible()
    expect(row.get_by_text("warm on local")).to_be_visible()
    expect(row.get_by_text("pinned", exact=True)).to_be_visible()
    row.get_by_role("button", name="Unpin House").click()
    expect(room.get_by_role("button", name="Unpin House")).to_have_count(0)


def test_every_page_of_the_fleet_can_be_read_by_all(room: Page) -> None:
    open_fleet(room)
    check_all(room)
    base = room.url
    local_agent(room).get_by_role("link", name="local").click()
    room.get_by_label("Labels of local").fill("not@good")
    room.get_by_role("button", name="Save").click()
    room.locator("#error_labels").wait_for()
    room.locator("summary", has_text="Remove local").click()
    check_all(room)
    for path in ("/models", "/sharing", "/joining"):
        room.goto(base + path)
        check_all(room)
    room.get_by_role("button", name="Make token").click()
    room.locator("[data-shown-once]").wait_for()
    expect(room.locator("[data-copy]")).to_contain_text("python -m gpuagent join --url http")
    check_all(room)
    room.reload()
    expect(room.locator("[data-shown-once]")).to_have_count(0)
    room.get_by_role("button", name=re.compile("Revoke")).first.click()
    expect(room.get_by_text("nothing can join with it any more")).to_be_visible()
