"""Tokens made in the browser open the API within their limits; revoked, they do not."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from accounts.token_text import PATTERN
from tests.browser.conftest import Product

pytestmark = pytest.mark.browser


def fill_in(page: Page, name: str) -> None:
    page.goto("/settings/tokens")
    page.get_by_role("textbox", name="Name").fill(name)


def make(page: Page) -> str:
    """Press the button; the text that is shown."""
    page.get_by_role("button", name="Make token").click()
    shown = page.locator("[data-shown-once] [data-copy]").inner_text()
    assert re.fullmatch(PATTERN, shown)
    return shown


def ask(product: Product, plain: str, path: str = "jobs") -> httpx.Response:
    headers = {"Authorization": f"Bearer {plain}"}
    return httpx.get(f"{product.url}/api/v1/{path}", headers=headers)


def test_a_token_works_until_it_is_revoked(room: Page, product: Product) -> None:
    fill_in(room, "Render script")
    plain = make(room)
    headers = {"Authorization": f"Bearer {plain}"}

    body = {"prompt": "photo of a red car on grass", "num_inference_steps": 4}
    made = httpx.post(
        f"{product.url}/api/v1/jobs",
        json=body,
        headers={**headers, "Prefer": "wait=30"},
        timeout=60,
    )
    assert made.status_code == 201
    assert made.json()["status"] == "succeeded"

    room.reload()
    assert plain not in room.content(), "a token is shown once"
    tokens = room.get_by_role("button", name="Revoke Render script")
    expect(tokens).to_have_count(1)  # loading again sends no form again
    tokens.click()
    room.get_by_text("Revoked. It opens nothing any more.").wait_for()
    refused = ask(product, plain)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"


def test_limits_are_chosen_where_they_open_and_hold(room: Page, product: Product) -> None:
    fill_in(room, "Watcher")
    permission = room.get_by_label("see models and samplers")
    expect(permission).to_be_hidden()
    room.get_by_label("Single permissions").check()
    permission.check()
    room.get_by_label("on a date").check()
    room.get_by_role("button", name="Make token").click()
    expect(room.locator("#error_expires")).to_have_text("Give the date on which it expires.")
    expect(permission).to_be_checked()  # nothing was lost
    day = room.evaluate("new Date(Date.now() + 3 * 864e5).toISOString().slice(0, 10)")
    room.get_by_label("Last day").fill(day)

    plain = make(room)

    assert ask(product, plain, "models").status_code == 200
    assert ask(product, plain, "jobs").status_code == 403
    assert ask(product, plain, "me").json()["token"]["scopes"] == ["model:view"]
    row = room.locator(".token", has_text="Watcher")
    expect(row).to_contain_text("see models and samplers")
    expect(row.locator(".badge--warn")).to_contain_text(re.compile("expires in [34] days"))


def test_a_rotated_token_works_on_beside_its_successor(room: Page, product: Product) -> None:
    fill_in(room, "Old hand")
    old = make(room)
    room.get_by_role("button", name="Rotate Old hand").click()
    room.get_by_text("It takes the place of Old hand").wait_for()
    fresh = room.locator("[data-shown-once] [data-copy]").inner_text()
    assert fresh != old
    assert [ask(product, plain).status_code for plain in (old, fresh)] == [200, 200]
    expect(room.locator(".token", has_text="replaced, ends in 24 hours")).to_have_count(1)


def test_the_audit_log_tells_of_it_and_can_be_taken_away(room: Page, product: Product) -> None:
    fill_in(room, "=Formula")
    plain = make(room)
    organization = ask(product, plain, "me").json()["organization"]["id"]
    room.goto(f"/o/{organization}/audit")
    room.get_by_label("What").select_option("token.created")
    room.get_by_role("button", name="Show").click()
    expect(room.locator(".log tbody tr").first).to_contain_text("made an API token: =Formula")
    expect(room.locator(".log local-time").first).not_to_contain_text("UTC")
    with room.expect_download() as started:
        room.get_by_role("link", name="CSV").click()
    text = started.value.path().read_text(encoding="utf-8")
    assert text.startswith("time,actor,")
    assert ",token.created," in text
    assert ",session.started," not in text
    assert ",'=Formula," in text
