"""axe-core finds no serious violation on any page, dark or light, wide or narrow."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from playwright.sync_api import Page

from launcher.layout import REPOSITORY
from tests.browser.conftest import Product, sign_in

pytestmark = pytest.mark.browser

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}


def violations(page: Page) -> list[str]:
    """What axe calls serious or critical. Its script runs outside the page's security policy."""
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


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_tokens_page_and_the_audit_log(
    page: Page, product: Product, scheme: Literal["dark", "light"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    sign_in(page, product)
    page.goto("/settings/tokens")
    page.get_by_role("textbox", name="Name").fill("Looked at")
    page.get_by_role("button", name="Make token").click()
    page.locator("[data-shown-once]").wait_for()
    for choice in ("Single permissions", "Only these", "on a date"):
        page.get_by_label(choice).check()
    assert violations(page) == []
    page.get_by_role("textbox", name="Name").fill("Half")
    page.get_by_role("button", name="Make token").click()
    page.locator("#error_scopes").wait_for()
    assert violations(page) == []
    organization = page.evaluate(
        "new URLSearchParams(document.querySelector('.token-form').action.split('?')[1])"
        ".get('organization')"
    )
    page.goto(f"/o/{organization}/audit")
    page.locator(".log").wait_for()
    assert violations(page) == []
    overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, "the page must not scroll sideways"
