"""A part of a picture changed under a mask, and a picture extended, by hand."""

from __future__ import annotations

import io
import re
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Product, sign_in
from tests.browser.test_accessibility import violations
from tests.browser.test_first_picture import (
    download,
    generate,
    open_picture,
    tile,
    wait_for_picture,
    write_prompt,
)

pytestmark = pytest.mark.browser
BOX = (60, 30, 120, 90)
BLUR = 4


def beach(width: int, height: int) -> Image.Image:
    """Sky over sand, with a grain that no model would draw the same."""
    pixels = np.full((height, width, 3), (120, 180, 230), np.int16)
    pixels[height // 2 :] = (220, 200, 150)
    pixels += np.random.default_rng(7).integers(-6, 7, pixels.shape, dtype=np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def add(page: Page, field: str, picture: Image.Image) -> None:
    file = io.BytesIO()
    picture.save(file, "PNG")
    chooser = page.locator(f'#recipe [data-field="{field}"] input[type="file"]')
    with page.expect_response(lambda answer: answer.url.endswith("/uploads")):
        chooser.set_input_files(
            {"name": f"{field}.png", "mimeType": "image/png", "buffer": file.getvalue()}
        )
    page.locator(f'#recipe [data-field="{field}"] [data-part="card"]').wait_for()


def made(page: Page) -> np.ndarray:
    job = generate(page)
    wait_for_picture(page, job)
    open_picture(page, job)
    with Image.open(io.BytesIO(download(page))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_part_is_changed_and_the_rest_keeps_its_bytes(room: Page) -> None:
    before = beach(192, 128)
    mask = Image.new("L", before.size)
    mask.paste(255, BOX)
    write_prompt(room, "photo of a red apple on a beach", steps=6)
    # Given: a picture; Then: a mask can be added, and brings its settings
    expect(room.locator("#id_mask_blur")).to_be_hidden()
    add(room, "image", before)
    add(room, "mask", mask)
    expect(room.locator("#id_mask_blur")).to_be_visible()
    expect(room.locator("#id_strength")).to_have_value("1")
    # When: only the masked area is worked on
    room.get_by_label("Work on").select_option("masked")
    after = made(room)
    # Then: the result is as large as the picture, and new under the mask alone
    changed = (after != np.asarray(before)).any(axis=2)
    left, top, right, bottom = BOX
    assert changed[top:bottom, left:right].mean() > 0.9
    changed[top - BLUR : bottom + BLUR, left - BLUR : right + BLUR] = False
    assert not changed.any()
    expect(room.locator("picture-viewer")).to_contain_text("the masked area at 128 × 128")
    # And: it can be the next starting picture, under the same mask
    starting = room.locator('#recipe [data-field="image"]')
    was = starting.locator('input[name="image"]').input_value()
    room.get_by_role("button", name="Start from this picture").click()
    expect(starting.locator('input[name="image"]')).not_to_have_value(was)
    expect(starting.locator('[data-part="facts"]')).to_have_text("192 × 128")
    expect(room.locator('#recipe input[name="mask"]')).not_to_have_value("")
    # And: run again, the same bytes
    with room.expect_response(lambda r: r.url.endswith("/rerun")) as answer:
        room.get_by_role("button", name="Run again").click()
    again = re.search(r'data-job="(job_\w+)"', answer.value.text())
    assert again
    wait_for_picture(room, again.group(1))
    room.goto(room.locator(tile(room, again.group(1))).first.get_attribute("data-url") or "")
    expect(room.locator(".verdict--identical")).to_contain_text("Identical")


def test_a_picture_is_extended(room: Page) -> None:
    before = beach(96, 128)
    write_prompt(room, "photo of a beach", steps=6)
    add(room, "image", before)
    room.get_by_text("Extend the picture").click()
    side = room.get_by_label("Right", exact=True)
    side.fill("")
    side.press_sequentially("32")
    expect(room.locator("#recipe")).to_contain_text("The picture fills 96 × 128 of 128 × 128.")
    expect(room.locator("#id_strength")).to_have_value("1")
    after = made(room)
    assert after.shape == (128, 128, 3)
    assert np.array_equal(after[:, :96], np.asarray(before))
    assert after[:, 96:].std() > 1


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_serious_is_wrong_with_the_form(
    page: Page, product: Product, scheme: Literal["dark", "light"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    sign_in(page, product)
    add(page, "image", beach(96, 128))
    page.get_by_text("Extend the picture").click()
    assert violations(page) == []
    add(page, "mask", Image.new("L", (96, 128), 255))
    page.get_by_label("Work on").select_option("masked")
    assert violations(page) == []
    wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
