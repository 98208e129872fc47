"""The Models page: a LoRA is added and used in the room; an upload that was cut off goes on."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_accessibility import violations
from tests.browser.test_first_picture import generate, wait_for_picture, write_prompt

pytestmark = pytest.mark.browser
ADAPTERS = Path(__file__).resolve().parents[2] / "house" / "adapters"
NEON = ADAPTERS / "neon" / "pytorch_lora_weights.safetensors"
PIECE = 8 * 1024 * 1024


def open_models(room: Page) -> None:
    """The page of the organization whose room this is."""
    found = re.search(r"/o/(org_\w+)/", room.content())
    assert found is not None
    origin = "/".join(room.url.split("/")[:3])
    room.goto(f"{origin}/o/{found[1]}/models")


def another_neon(path: Path) -> Path:
    """The house's LoRA as somebody else's file, with the words that its maker wrote into it."""
    content = NEON.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"modelspec.trigger_phrase": "neon sign of, glowing"}
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])
    return path


def test_a_lora_is_added_by_hand_and_used_in_the_room(room: Page, tmp_path: Path) -> None:
    address = room.url
    path = another_neon(tmp_path / "my_signs.safetensors")
    open_models(room)
    assert violations(room) == []
    # When: a file is chosen, named and added
    room.locator("#id_file").set_input_files(path)
    expect(room.locator("#id_name")).to_have_value("my signs")
    room.locator("#id_name").fill("Signs of my own")
    room.get_by_role("button", name="Add", exact=True).click()
    # Then: its own page says what it is
    expect(room.get_by_role("heading", name="Signs of my own")).to_be_visible(timeout=30_000)
    expect(room.locator(".lede")).to_contain_text("LoRA")
    expect(room.get_by_text("neon sign of, glowing")).to_be_visible()
    assert violations(room) == []
    # And: it can be chosen in the room, and changes the picture
    room.goto(address)
    write_prompt(room, "a red mug", steps=6)
    stack = room.locator("adapter-stack")
    stack.get_by_label("LoRAs", exact=True).select_option(label="Signs of my own")
    stack.get_by_role("button", name="glowing").click()
    wait_for_picture(room, generate(room))
    # When: it is removed, it cannot be chosen any more, until it is restored
    open_models(room)
    room.get_by_role("link", name="Signs of my own", exact=True).click()
    room.get_by_role("button", name="Remove", exact=True).click()
    expect(room.get_by_role("button", name="Restore", exact=True)).to_be_visible()
    room.goto(address)
    options = room.locator("adapter-stack").get_by_label("LoRAs", exact=True)
    expect(options.locator("option", has_text="Signs of my own")).to_have_count(0)


def odd_file(path: Path, size: int) -> Path:
    """A sound file of three pieces that nobody knows."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    empty = {**tensor, "shape": [0], "data_offsets": [size, size]}
    header = json.dumps({"layers.0": tensor, "layers.1": empty}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    return path


def test_an_upload_that_was_cut_off_goes_on(room: Page, tmp_path: Path) -> None:
    path = odd_file(tmp_path / "odd.safetensors", 2 * PIECE + 1_000)
    open_models(room)
    sent: list[str] = []

    def cut(route: Route) -> None:
        offset = route.request.url.partition("offset=")[2]
        sent.append(offset)
        if offset == str(PIECE):
            route.abort()
        else:
            route.continue_()

    # When: the line breaks after the first piece, and the page is closed
    room.route("**/content?offset=*", cut)
    room.locator("#id_file").set_input_files(path)
    room.locator("#id_name").fill("Odd")
    room.get_by_role("button", name="Add", exact=True).click()
    expect(room.locator("[data-part=says]")).to_contain_text("nothing is lost")
    room.unroute("**/content?offset=*")
    room.on("dialog", lambda dialog: dialog.accept())
    room.reload()
    expect(room.get_by_text("choose the same file again to go on").first).to_be_visible()
    # Then: the same file goes on where it was
    room.on("request", lambda r: sent.append("again") if "content?offset" in r.url else None)
    room.locator("#id_file").set_input_files(path)
    room.locator("#id_name").fill("Odd")
    room.get_by_role("button", name="Add", exact=True).click()
    expect(room.locator("[data-part=error]")).to_contain_text(
        "odd.safetensors is nothing that is known here", timeout=30_000
    )
    assert sent.count("0") == 1, "the first piece was sent once"
    assert sent.count("again") == 2
    # And: a pickle is refused before a byte is sent
    room.locator("#id_file").set_input_files(
        {"name": "model.ckpt", "mimeType": "", "buffer": b"\x80\x02}q\x00." * 10}
    )
    room.get_by_role("button", name="Add", exact=True).click()
    expect(room.locator("[data-part=error]")).to_contain_text("can run code when it is read")
