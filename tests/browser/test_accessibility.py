"""axe-core finds no serious violation on any page, dark or light, wide or narrow."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from playwright.sync_api import Page

from launcher.layout import REPOSITORY
from tests.accounts.guarding import code_of
from tests.browser.conftest import Product, sign_in
from tests.browser.people import confirm, fill_sign_in, make_person

pytestmark = pytest.mark.browser

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}
# Colors that are on their way from one theme to the other are no colors of ours.
SETTLED = """() => Promise.allSettled(
  document.getAnimations().filter((a) => a instanceof CSSTransition).map((a) => a.finished))"""
SCHEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")


def violations(page: Page) -> list[str]:
    """What axe calls serious or critical. Its script runs outside the page's security policy."""
    page.evaluate(SETTLED)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("() => axe.run()")
    return [
        f"{v['id']}: {v['help']}: {[node['target'] for node in v['nodes']][:4]}"
        for v in found["violations"]
        if v["impact"] in SERIOUS
    ]


def test_the_checker_can_fail(page: Page, product: Product) -> None:
    page.goto("/")
    page.evaluate("() => document.querySelector('label').remove()")
    page.evaluate("() => document.querySelectorAll('input').forEach(i => i.removeAttribute('id'))")
    assert violations(page)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_sign_in_page(page: Page, product: Product, scheme: Literal["dark", "light"]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    assert violations(page) == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_room_and_a_picture(
    page: Page, product: Product, scheme: Literal["dark", "light"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    sign_in(page, product)
    page.locator("#id_prompt").fill("photo of a blue car on a beach")
    page.locator("#id_num_inference_steps").fill("4")
    page.locator("#generate").click()
    made = page.locator('#gallery job-tile[data-status="succeeded"]').first
    made.wait_for(state="attached")
    assert violations(page) == []
    page.goto(made.get_attribute("data-url") or "")
    page.locator("picture-viewer").wait_for()
    assert violations(page) == []
    overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, "the page must not scroll sideways"


def check_all(page: Page) -> None:
    """Both themes, wide and narrow; nothing scrolls sideways."""
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert violations(page) == [], (page.url, width, scheme)
        overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, (page.url, width)


def test_pages_that_guard_an_account(page: Page, product: Product) -> None:
    person = make_person(product)
    for address in ("", "sent/", "done/", "usr_x/x/"):
        page.goto(f"/accounts/password/reset/{address}")
        check_all(page)
    page.goto("/")
    fill_sign_in(page, person)
    page.wait_for_url("**/w/**")
    for address in ("/settings/security", "/accounts/password/change/"):
        page.goto(address)
        check_all(page)
    page.goto("/settings/security/factors/app/add/")
    check_all(page)
    confirm(page, person)
    page.get_by_label("The six digits").fill("000000")
    page.get_by_role("button", name="Switch it on").click()
    page.get_by_text("did not match").wait_for()
    check_all(page)
    secret = page.locator("code[data-copy]").text_content() or ""
    page.get_by_label("The six digits").fill(code_of(secret))
    page.get_by_role("button", name="Switch it on").click()
    page.wait_for_url("**/codes/")
    check_all(page)
    for address in ("codes/new/", "app/remove/", "passkeys/add/"):
        page.goto(f"/settings/security/factors/{address}")
        check_all(page)
    page.goto("/settings/security")
    check_all(page)
    page.context.clear_cookies()
    page.goto("/")
    fill_sign_in(page, person)
    page.get_by_label("Code").wait_for()
    check_all(page)


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_pages_of_workspaces(
    page: Page, product: Product, scheme: Literal["dark", "light"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    sign_in(page, product)
    page.locator("room-switcher summary").click()
    assert violations(page) == []
    address = page.locator(".switcher__manage").first.get_attribute("href") or ""
    page.goto(address)
    assert violations(page) == []
    page.get_by_role("link", name="Access and settings").first.click()
    page.get_by_role("heading", name="Who can see").first.wait_for()
    assert violations(page) == []
    page.locator("summary", has_text="Who can see").click()
    assert violations(page) == []
    overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, "the page must not scroll sideways"
    page.goto(address.replace("/workspaces", "/export"))
    assert violations(page) == []


def test_the_tokens_page_and_the_audit_log(room: Page) -> None:
    room.goto("/settings/tokens")
    room.get_by_role("textbox", name="Name").fill("Looked at")
    room.get_by_role("button", name="Make token").click()
    room.locator("[data-shown-once]").wait_for()
    for choice in ("Single permissions", "Only these", "on a date"):
        room.get_by_label(choice).check()
    check_all(room)
    room.get_by_role("textbox", name="Name").fill("Half")
    room.get_by_role("button", name="Make token").click()
    room.locator("#error_scopes").wait_for()
    check_all(room)
    address = room.locator(".token-form").get_attribute("action") or ""
    room.goto(f"/o/{address.partition('organization=')[2]}/audit")
    room.locator(".log").wait_for()
    check_all(room)
