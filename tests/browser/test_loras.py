"""LoRAs and the words of embeddings, chosen by hand in the room."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import violations
from tests.browser.test_first_picture import (
    download,
    generate,
    open_picture,
    wait_for_picture,
    write_prompt,
)

pytestmark = pytest.mark.browser


def made(page: Page) -> np.ndarray:
    job = generate(page)
    wait_for_picture(page, job)
    open_picture(page, job)
    with Image.open(io.BytesIO(download(page))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_lora_is_chosen_weighed_and_taken_off_again(room: Page) -> None:
    write_prompt(room, "a red mug", steps=6)
    room.locator("#id_seed").fill("7")
    plain = made(room)
    # When: a LoRA is chosen, and its trigger word pressed
    stack = room.locator("adapter-stack")
    stack.get_by_label("LoRAs", exact=True).select_option(label="Neon signs")
    expect(stack.get_by_label("Weight of Neon signs").first).to_have_value("1")
    stack.get_by_role("button", name="neon sign of").click()
    expect(room.locator("#id_prompt")).to_have_value("a red mug neon sign of")
    assert violations(room) == []
    room.locator("#id_prompt").fill("a red mug")
    signs = made(room)
    # Then: the picture is another, and its panel says why
    assert (signs != plain).any(axis=2).mean() > 0.5
    expect(room.locator("picture-viewer")).to_contain_text("Neon signs")
    # And: without it, the picture is the first one again, byte for byte
    stack.get_by_role("button", name="Remove Neon signs").click()
    assert np.array_equal(made(room), plain)


def test_an_embedding_is_called_by_its_word(room: Page) -> None:
    write_prompt(room, "photo of a mug", steps=6)
    room.locator("adapter-stack").get_by_role("button", name="<teal>").click()
    expect(room.locator("#id_prompt")).to_have_value("photo of a mug <teal>")
    made(room)
    expect(room.locator("picture-viewer")).to_contain_text("<teal>")
    expect(room.locator("picture-viewer")).to_contain_text("Embedding")


def test_a_weight_out_of_range_is_told_in_its_place(room: Page) -> None:
    write_prompt(room, "a red mug", steps=6)
    stack = room.locator("adapter-stack")
    stack.get_by_label("LoRAs", exact=True).select_option(label="Neon signs")
    stack.get_by_label("Weight of Neon signs").first.fill("3")
    room.locator("#generate").click()
    expect(room.locator("#error_loras")).to_have_text("A LoRA's weight is 3; choose from -2 to 2.")
    expect(stack.get_by_label("Weight of Neon signs").first).to_have_value("3")
