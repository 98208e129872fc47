"""A token made in the browser opens the API; revoked, it does not."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Product

pytestmark = pytest.mark.browser


def test_a_token_works_until_it_is_revoked(room: Page, product: Product) -> None:
    room.goto("/settings/tokens")
    room.get_by_label("Name").fill("Render script")
    room.get_by_role("button", name="Make token").click()
    match = re.search(r"stu_[\w-]{40,}", room.locator("main").inner_text() + room.content())
    assert match
    headers = {"Authorization": f"Bearer {match.group(0)}"}

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
    assert match.group(0) not in room.content(), "a token is shown once"
    room.get_by_role("button", name=re.compile("Revoke")).first.click()
    room.wait_for_load_state()
    refused = httpx.get(f"{product.url}/api/v1/jobs", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
