"""A person of one's own in the running studio, so that others' tests can still sign in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import count

from playwright.sync_api import Page

from launcher.layout import REPOSITORY
from tests.browser.conftest import Product

PASSWORD = "a long and quiet password"
_numbers = count(1)
_MAKE = """
from accounts.models import Membership, Organization, User
user = User.objects.create_user("{email}", "{password}")
Membership.objects.create(user=user, organization=Organization.objects.first(), role="{role}")
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in."""

    email: str
    password: str = PASSWORD


def make_person(product: Product, *, role: str = "artist") -> Person:
    """A new member of the demo organization."""
    person = Person(email=f"person{next(_numbers)}@studio.example")
    code = _MAKE.format(email=person.email, password=person.password, role=role)
    shell = [sys.executable, "manage.py", "shell", "-c", code]
    # Not as a test: the studio would not know the fast hash of the password.
    plain = {name: value for name, value in os.environ.items() if name != "STUDIO_TEST"}
    subprocess.run(
        [sys.executable, "-m", "launcher", "run", "--", *shell],
        cwd=REPOSITORY,
        env={**plain, "STUDIO_STATE": product.fact("State")},
        check=True,
        timeout=60,
        capture_output=True,
    )
    return person


def fill_sign_in(page: Page, person: Person) -> None:
    """Address and password, and the button."""
    page.get_by_label("E-mail").fill(person.email)
    page.get_by_label("Password", exact=True).fill(person.password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm(page: Page, person: Person) -> None:
    """Say the password once more."""
    page.get_by_label("Password", exact=True).fill(person.password)
    page.get_by_role("button", name="Go on").click()
