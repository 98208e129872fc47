"""Invited in the browser, by a letter, into the organization."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from launcher.process import wait_until
from tests.browser.conftest import Product
from tests.browser.people import PASSWORD, fill_sign_in, make_person
from tests.browser.test_accessibility import check_all

pytestmark = pytest.mark.browser
EMAIL = "nina@example.org"


def link_to(product: Product, email: str) -> str:
    """What the letter to the address holds, once the worker has sent it."""
    folder = Path(product.fact("State")) / "mail"
    found: list[str] = []

    def look() -> bool:
        for letter in folder.glob("*.eml"):
            text = letter.read_text()
            link = re.search(r"/join\?key=[\w-]{43}", text)
            if f"To: {email}" in text and link:
                found.append(link[0])
        return bool(found)

    assert wait_until(look, 30.0), "no letter came"
    return found[-1]


def test_who_is_invited_comes_in_by_the_letter(
    page: Page, product: Product, browser: Browser
) -> None:
    admin = make_person(product, role="owner")
    page.goto("/")
    fill_sign_in(page, admin)
    page.wait_for_url("**/w/**")
    page.locator("summary", has_text="Account").click()
    page.get_by_role("link", name="Members of").click()
    page.get_by_label("E-mail addresses").fill(f"Nina <{EMAIL}>")
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Invite", exact=True).click()
    page.get_by_text(f"An invitation is on its way to {EMAIL}").wait_for()

    path = link_to(product, EMAIL)
    guest = browser.new_context(base_url=product.url)
    hers = guest.new_page()
    hers.goto(path)
    hers.get_by_text("as a viewer").wait_for()
    check_all(hers)
    hers.get_by_label("Your name").fill("Nina Park")
    hers.get_by_label("Choose a password").fill("short")
    hers.get_by_role("button", name="Join").click()
    hers.get_by_role("alert").wait_for()
    assert hers.get_by_label("Your name").input_value() == "Nina Park"
    hers.get_by_label("Choose a password").fill(PASSWORD)
    hers.get_by_role("button", name="Join").click()
    hers.wait_for_url("**/w/**")
    hers.goto("/accounts/logout/")
    hers.locator("main").get_by_role("button", name="Sign out").click()
    hers.goto(path)
    hers.get_by_role("heading", name="This link has ended").wait_for()
    guest.close()

    page.reload()
    page.get_by_role("link", name="Nina Park", exact=True).click()
    page.get_by_role("heading", name="Nina Park").wait_for()
    page.get_by_text("this workspace is open to all members").first.wait_for()
    check_all(page)
    page.get_by_role("link", name="Remove…").click()
    page.get_by_role("button", name="Remove Nina Park").wait_for()
    check_all(page)
    page.get_by_role("button", name="Remove Nina Park").click()
    page.get_by_text("Nina Park is no member any more.").wait_for()


def test_teams_and_service_accounts(page: Page, product: Product) -> None:
    page.goto("/")
    admin = make_person(product, role="admin")
    fill_sign_in(page, admin)
    page.wait_for_url("**/w/**")
    page.locator("summary", has_text="Account").click()
    page.get_by_role("link", name="Members of").click()
    page.get_by_role("heading", name="Invite people").wait_for()
    check_all(page)
    page.get_by_role("link", name="Teams", exact=True).click()
    page.get_by_label("Name").fill("Autumn")
    page.get_by_role("button", name="Make team").click()
    page.get_by_label(admin.email).check()
    check_all(page)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    check_all(page)
    assert admin.email in page.locator(".letter").inner_text()
    page.get_by_role("link", name=re.compile("Delete… Autumn")).click()
    check_all(page)
    page.get_by_role("button", name="Delete team").click()
    page.get_by_text("The team Autumn was deleted.").wait_for()
    page.get_by_role("link", name="Service accounts").click()
    page.get_by_label("Name").fill("Render farm")
    page.get_by_role("button", name="Make account").click()
    page.get_by_text("Render farm was made.").wait_for()
    check_all(page)
    page.locator("summary", has_text="End…").click()
    check_all(page)
    page.get_by_role("button", name="End Render farm").click()
    page.get_by_text("were ended").wait_for()
