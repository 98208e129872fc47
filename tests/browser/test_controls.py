"""ControlNets chosen by hand in the room: a picture, its map, how much and how long."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import violations
from tests.browser.test_first_picture import write_prompt
from tests.browser.test_loras import made

pytestmark = pytest.mark.browser


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (128, 128), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((16, 50, 60, 110), fill="firebrick")
    draw.ellipse((54, 62, 80, 94), outline="firebrick", width=6)
    file = tmp_path / "mug.png"
    picture.save(file)
    return file


def test_a_picture_is_guided_as_its_map_shows(room: Page, drawing: Path) -> None:
    write_prompt(room, "photo of a red mug on a beach", steps=8)
    room.locator("#id_seed").fill("7")
    plain = made(room)
    # When: a control is added, given a picture, and its map looked at
    stack = room.locator('control-stack[data-field="controls"]')
    stack.get_by_label("Control", exact=True).select_option(label="Edges")
    stack.locator('input[type="file"]').set_input_files(drawing)
    expect(stack.get_by_role("img", name="Picture to follow")).to_be_visible()
    stack.get_by_role("button", name="Show the map").click()
    drawn = stack.get_by_role("img", name="Its map")
    expect(drawn).to_be_visible()
    with Image.open(io.BytesIO(drawn.screenshot())) as shown:
        assert (np.asarray(shown.convert("L")) > 200).any()
    assert violations(room) == []
    guided = made(room)
    # Then: the picture is another, and its panel says why
    assert (guided != plain).any(axis=2).mean() > 0.3
    viewer = room.locator("picture-viewer")
    expect(viewer).to_contain_text("Canny edges")
    expect(viewer).to_contain_text("Edges 1")
    # And: its parameters bring the control back into an emptied form
    stack.get_by_role("button", name="Remove the control").click()
    expect(stack.locator("[data-row]")).to_have_count(0)
    assert np.array_equal(made(room), plain)
    room.keyboard.press("ArrowRight")
    expect(room.locator("picture-viewer")).to_contain_text("Canny edges")
    room.get_by_role("button", name="Use parameters").click()
    expect(stack.locator("[data-row]")).to_have_count(1)
    assert np.array_equal(made(room), guided)


def test_what_is_missing_is_told_in_its_place(room: Page) -> None:
    write_prompt(room, "a red mug", steps=6)
    stack = room.locator('control-stack[data-field="controls"]')
    stack.get_by_label("Control", exact=True).select_option(label="Edges")
    room.locator("#generate").click()
    expect(room.locator("#error_controls")).to_have_text(
        "Control 1: it has no picture to follow. Add one."
    )
    expect(stack.locator("[data-row]")).to_have_count(1)


def test_a_picture_takes_after_a_reference(room: Page, drawing: Path) -> None:
    write_prompt(room, "photo of a mug", steps=8)
    room.locator("#id_seed").fill("9")
    plain = made(room)
    stack = room.locator('control-stack[data-field="references"]')
    stack.get_by_label("Reference", exact=True).select_option(label="Reference picture")
    stack.locator('input[type="file"]').set_input_files(drawing)
    expect(stack.get_by_role("img", name="Reference picture")).to_be_visible()
    assert violations(room) == []
    after = made(room)
    assert (after != plain).any(axis=2).mean() > 0.3
    expect(room.locator("picture-viewer")).to_contain_text("Reference")
    stack.get_by_role("button", name="Remove the reference").click()
    assert np.array_equal(made(room), plain)
