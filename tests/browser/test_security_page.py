"""Guarding an account in a real browser: passkeys, an authenticator app, a password by mail."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from launcher.process import wait_until
from tests.accounts.guarding import code_of
from tests.browser.conftest import Complaints, Product
from tests.browser.people import Person, confirm, fill_sign_in, make_person

pytestmark = pytest.mark.browser
ADD = "/settings/security/factors/passkeys/add/"


@pytest.fixture
def person(product: Product) -> Person:
    return make_person(product)


@pytest.fixture
def named(browser: Browser, product: Product, complaints: Complaints) -> Iterator[Page]:
    """A page of the studio by its name: browsers keep no passkeys for an IP address."""
    context = browser.new_context(base_url=product.url.replace("127.0.0.1", "localhost"))
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints.listen(page)
    yield page
    context.close()
    assert complaints.heard == []


def plug_in(page: Page, *, knows_its_person: bool = True) -> None:
    """Chromium's own virtual authenticator: it signs as a real one does."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal" if knows_its_person else "usb",
        "hasResidentKey": knows_its_person,
        "hasUserVerification": knows_its_person,
        "isUserVerified": knows_its_person,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def add_passkey(page: Page, person: Person, name: str) -> None:
    page.goto(ADD)
    confirm(page, person)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add a passkey").click()


def test_a_passkey_signs_in_by_itself(named: Page, person: Person) -> None:
    plug_in(named)
    named.goto("/")
    fill_sign_in(named, person)
    named.wait_for_url("**/w/**")
    add_passkey(named, person, "Laptop")
    named.wait_for_url("**/codes/")
    named.goto("/settings/security")
    expect(named.get_by_text("Signs you in by itself")).to_be_visible()

    named.context.clear_cookies()
    named.goto("/accounts/login/?next=/settings/security")
    named.get_by_role("button", name="Sign in with a passkey").click()
    named.wait_for_url("**/settings/security")

    named.get_by_role("link", name="Rename Laptop").click()
    confirm(named, person)
    named.get_by_label("Name").fill("Old laptop")
    named.get_by_role("button", name="Rename").click()
    named.get_by_role("link", name="Remove Old laptop").click()
    named.get_by_role("button", name="Remove the passkey").click()
    expect(named.get_by_text("None yet.")).to_be_visible()

    named.context.clear_cookies()
    named.goto("/accounts/login/")
    named.get_by_role("button", name="Sign in with a passkey").click()
    expect(named.get_by_text("did not match")).to_be_visible()
    named.goto("/settings/security")
    named.wait_for_url("**/accounts/login/**")


def test_a_simple_key_is_the_second_step_and_no_more(named: Page, person: Person) -> None:
    plug_in(named, knows_its_person=False)
    named.goto("/")
    fill_sign_in(named, person)
    named.wait_for_url("**/w/**")
    named.goto(ADD)
    confirm(named, person)
    named.get_by_text("Second step after the password").click()
    named.get_by_role("button", name="Add a passkey").click()
    named.wait_for_url("**/codes/")

    named.context.clear_cookies()
    named.goto("/accounts/login/?next=/settings/security")
    fill_sign_in(named, person)
    named.get_by_role("button", name="Use a passkey instead").click()
    named.wait_for_url("**/settings/security")
    expect(named.get_by_text("Second step after the password")).to_be_visible()
    named.goto("/accounts/confirm/passkey/?next=/settings/security/factors/codes/")
    named.get_by_role("button", name="Use a passkey").click()
    named.wait_for_url("**/codes/")


def test_who_turns_away_is_told_and_stays_on_the_page(named: Page, person: Person) -> None:
    plug_in(named, knows_its_person=False)
    named.goto("/")
    fill_sign_in(named, person)
    named.wait_for_url("**/w/**")
    named.goto(ADD)
    confirm(named, person)
    named.get_by_label("Name").fill("Kept")
    named.get_by_role("button", name="Add a passkey").click()
    expect(named.get_by_role("alert")).not_to_be_empty()
    expect(named.get_by_label("Name")).to_have_value("Kept")


def test_at_an_ip_address_the_page_says_where_passkeys_work(
    page: Page, product: Product, person: Person
) -> None:
    page.goto("/")
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)
    fill_sign_in(page, person)
    page.wait_for_url("**/w/**")
    page.goto("/settings/security")
    expect(page.get_by_role("link", name="http://localhost")).to_be_visible()


def test_an_app_is_added_and_asked_for(page: Page, person: Person) -> None:
    page.goto("/")
    fill_sign_in(page, person)
    page.wait_for_url("**/w/**")
    page.goto("/settings/security")
    page.get_by_role("link", name="Add an authenticator app").click()
    confirm(page, person)
    drawing = page.locator(".qr svg path")
    assert (drawing.get_attribute("d") or "").count("M") > 100
    page.get_by_text("It cannot be scanned").click()
    secret = page.locator("code[data-copy]").inner_text()
    page.get_by_label("The six digits").fill(code_of(secret))
    page.get_by_role("button", name="Switch it on").click()
    page.wait_for_url("**/codes/")
    code = page.locator(".codes").inner_text().split()[0]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert code in Path(download.value.path()).read_text(encoding="utf-8")

    page.context.clear_cookies()
    page.goto("/accounts/login/?next=/settings/security")
    fill_sign_in(page, person)
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/settings/security")
    expect(page.get_by_text("9 of 10 left")).to_be_visible()


def test_a_forgotten_password_is_set_anew_by_mail(
    page: Page, product: Product, person: Person
) -> None:
    page.goto("/")
    page.get_by_role("link", name="Forgotten?").click()
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_role("button", name="Send the link").click()
    page.get_by_text("Look into your mail").wait_for()
    folder = Path(product.fact("State")) / "mail"

    def mails() -> list[Message]:
        found = [email.message_from_bytes(file.read_bytes()) for file in folder.glob("*.eml")]
        return [mail for mail in found if mail["To"] == person.email]

    assert wait_until(lambda: bool(mails()), 20.0)
    text = mails()[0].get_payload(decode=True)
    assert isinstance(text, bytes)
    link = re.search(r"http://\S+", text.decode())
    assert link
    page.goto(link.group(0))
    new = Person(person.email, "quite another long password")
    for label in ("New Password", "New Password (again)"):
        page.get_by_label(label, exact=True).fill(new.password)
    page.get_by_role("button", name="Set the password").click()
    page.get_by_role("link", name="Sign in").click()
    fill_sign_in(page, new)
    page.wait_for_url("**/w/**")
