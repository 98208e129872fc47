"""From signing in to a picture that is made again, byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Product, sign_in

pytestmark = pytest.mark.browser

PROMPT = "product photo of a red mug on a wooden table"


def write_prompt(page: Page, prompt: str, *, steps: int | None = None, size: int = 0) -> None:
    """Fill the recipe's form; `size` in pixels a side."""
    page.get_by_label("Prompt", exact=True).fill(prompt)
    if steps is not None:
        page.locator("#id_num_inference_steps").fill(str(steps))
    if size:
        page.locator("#id_width").fill(str(size))
        page.locator("#id_height").fill(str(size))


def generate(page: Page) -> str:
    """Press Generate and give back the id of the job that appears at the front of the gallery."""
    with page.expect_response(lambda r: r.url.endswith("/jobs")) as answer:
        page.locator("#generate").click()
    assert answer.value.status == 201, answer.value.text()
    match = re.search(r'data-job="(job_\w+)"', answer.value.text())
    assert match
    return match.group(1)


def tile(page: Page, job: str) -> str:
    return f'#gallery job-tile[data-job="{job}"]'


def wait_for_picture(page: Page, job: str) -> None:
    page.locator(tile(page, job) + '[data-status="succeeded"]').first.wait_for(timeout=60_000)


def open_picture(page: Page, job: str) -> None:
    page.locator(tile(page, job)).first.locator("a.tile__frame").click()
    page.locator("picture-viewer").wait_for()


def download(page: Page) -> bytes:
    """The bytes that the Download link gives."""
    with page.expect_download() as started:
        page.get_by_role("link", name="Download").click()
    path = started.value.path()
    return Path(path).read_bytes()


def test_a_prompt_becomes_a_picture_that_runs_again_identically(room: Page) -> None:
    # Given: a prompt, with enough steps to see it grow
    write_prompt(room, PROMPT, steps=120)
    # When: Generate; Then: a tile at once, previews in it, then the picture in place
    job = generate(room)
    expect(room.locator(tile(room, job))).to_have_count(1)
    room.locator(tile(room, job) + " img.tile__preview").wait_for(state="attached")
    wait_for_picture(room, job)
    expect(room.locator(tile(room, job))).to_have_count(1)

    # Then: the viewer tells seed, parameters, model hash and engine
    open_picture(room, job)
    viewer = room.locator("picture-viewer")
    expect(viewer).to_contain_text(PROMPT)
    expect(viewer).to_contain_text("120")
    first = download(room)
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.size == (128, 128)
        manifest = json.loads(picture.text["studio.manifest"])  # type: ignore[attr-defined]  # PNG only
    assert manifest["recipe"]["prompt"] == PROMPT
    assert len(manifest["model"]["digest"]) == 64
    assert manifest["engine"]["torch"]

    # When: it is run again; Then: the same bytes, and the viewer says so
    with room.expect_response(lambda r: r.url.endswith("/rerun")) as answer:
        room.get_by_role("button", name="Run again").click()
    match = re.search(r'data-job="(job_\w+)"', answer.value.text())
    assert match
    again = match.group(1)
    wait_for_picture(room, again)
    room.goto(room.locator(tile(room, again)).first.get_attribute("data-url") or "")
    expect(room.locator(".verdict--identical")).to_contain_text("Identical")
    second = download(room)
    assert hashlib.sha256(second).digest() == hashlib.sha256(first).digest()


def test_a_trashed_picture_comes_back(room: Page) -> None:
    write_prompt(room, "photo of a blue car on a beach", steps=4)
    job = generate(room)
    wait_for_picture(room, job)
    open_picture(room, job)
    room.get_by_role("button", name="Delete").click()
    expect(room.locator(tile(room, job))).to_have_count(0)
    # When: the trash is opened and the picture restored
    room.keyboard.press("Escape")
    room.locator('[data-action="toggle-trash"]').click()
    trashed = room.locator(tile(room, job))
    expect(trashed).to_have_count(1)
    trashed.hover()
    trashed.locator('[data-action="restore"]').click()
    room.locator('[data-action="toggle-trash"]').click()
    # Then: it is in the gallery again, also for a fresh page
    expect(room.locator(tile(room, job))).to_have_count(1)
    room.reload()
    expect(room.locator(tile(room, job))).to_have_count(1)


def test_cancel_stops_a_running_picture(room: Page) -> None:
    write_prompt(room, "photo of a white house at sunset", steps=150, size=512)
    job = generate(room)
    room.locator(tile(room, job) + '[data-status="running"]').wait_for()
    room.locator("body").press("Shift+X")
    room.locator(tile(room, job) + '[data-status="canceled"]').wait_for(timeout=10_000)


def test_closing_the_page_loses_nothing(room: Page, context: BrowserContext) -> None:
    write_prompt(room, "photo of a yellow lamp in a gray studio", steps=60)
    job = generate(room)
    address = room.url
    room.close()
    returned = context.new_page()
    returned.goto(address)
    wait_for_picture(returned, job)


def test_a_second_tab_shows_the_same(room: Page, context: BrowserContext) -> None:
    other = context.new_page()
    other.goto(room.url)
    other.locator("#gallery").wait_for()
    write_prompt(room, "photo of a green bottle on a beach", steps=40)
    job = generate(room)
    wait_for_picture(other, job)
    wait_for_picture(room, job)
    for page in (room, other):
        expect(page.locator(tile(page, job))).to_have_count(1)


def test_a_double_press_makes_one_job(room: Page) -> None:
    before = room.locator("#gallery job-tile").count()
    write_prompt(room, "photo of a red apple on a pink background", steps=4)
    room.locator("#generate").dblclick()
    expect(room.locator("#gallery job-tile")).to_have_count(before + 1)
    room.locator('#gallery job-tile[data-status="succeeded"]').first.wait_for()
    expect(room.locator("#gallery job-tile")).to_have_count(before + 1)


def test_bad_input_is_told_at_its_field_and_nothing_is_lost(room: Page) -> None:
    write_prompt(room, "", steps=20)
    room.locator("#id_width").fill("100")
    room.locator("#id_negative_prompt").fill("blur")
    room.locator("#generate").click()
    expect(room.locator("#id_prompt")).to_have_attribute("aria-invalid", "true")
    expect(room.locator("#id_width")).to_have_attribute("aria-invalid", "true")
    expect(room.locator("#recipe")).to_contain_text("multiple of 8")
    expect(room.locator("#id_negative_prompt")).to_have_value("blur")
    expect(room.locator("#id_width")).to_have_value("100")


def test_a_broken_starting_picture_is_refused_in_words(room: Page) -> None:
    room.locator('#recipe [data-field="image"] input[type="file"]').set_input_files(
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nnot a picture"}
    )
    expect(room.locator("#recipe")).to_contain_text("cannot be read")


def test_a_starting_picture_shapes_the_result(room: Page) -> None:
    sea = io.BytesIO()
    Image.new("RGB", (128, 128), (20, 60, 200)).save(sea, "PNG")
    with room.expect_response(lambda r: r.url.endswith("/uploads")):
        room.locator('#recipe [data-field="image"] input[type="file"]').set_input_files(
            {"name": "sea.png", "mimeType": "image/png", "buffer": sea.getvalue()}
        )
    write_prompt(room, "photo of a red fish at night", steps=20)
    room.locator('#recipe input[name="strength"]').evaluate("(field) => { field.value = '0.2'; }")
    job = generate(room)
    wait_for_picture(room, job)
    open_picture(room, job)
    with Image.open(io.BytesIO(download(room))) as picture:
        average = picture.convert("RGB").resize((1, 1), Image.Resampling.BOX)
        red, _green, blue = average.getpixel((0, 0))  # type: ignore[misc]  # an RGB pixel is a tuple
    assert blue > red + 40, "at strength 0.2 the blue of the starting picture must stay"


def test_use_parameters_fills_the_form(room: Page) -> None:
    write_prompt(room, "flat icon of a yellow star at night", steps=7)
    job = generate(room)
    wait_for_picture(room, job)
    write_prompt(room, "something else", steps=33)
    open_picture(room, job)
    room.get_by_role("button", name="Use parameters").click()
    expect(room.locator("#id_prompt")).to_have_value("flat icon of a yellow star at night")
    expect(room.locator("#id_num_inference_steps")).to_have_value("7")
    expect(room.locator("#id_seed")).not_to_have_value("")


def test_a_preset_sets_what_it_names_and_nothing_else(room: Page) -> None:
    write_prompt(room, PROMPT)
    presets = room.get_by_role("group", name="Presets of House")
    standard = presets.get_by_role("button", name="Standard")
    draft = presets.get_by_role("button", name="Quick draft")
    # Given: the form starts with the first preset; When: another is chosen with the keyboard
    expect(standard).to_have_attribute("aria-pressed", "true")
    draft.press("Enter")
    # Then: it is marked, its values are in the form, and the prompt stays
    expect(draft).to_have_attribute("aria-pressed", "true")
    expect(standard).to_have_attribute("aria-pressed", "false")
    expect(room.locator("#id_num_inference_steps")).to_have_value("10")
    expect(room.locator("#id_sampler")).to_have_value("unipc")
    expect(room.locator("#id_prompt")).to_have_value(PROMPT)
    # When: a value is changed by hand; Then: no preset is marked
    room.locator("#id_num_inference_steps").fill("9")
    expect(presets.locator('[aria-pressed="true"]')).to_have_count(0)


def test_a_wrong_password_says_so(page: Page, product: Product) -> None:
    page.goto("/")
    page.get_by_label("E-mail").fill(product.fact("E-mail"))
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main")).to_contain_text("not correct")


def test_signing_out_closes_the_room(page: Page, product: Product) -> None:
    sign_in(page, product)
    address = page.url
    page.get_by_text("Account", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/**")
    page.goto(address)
    page.wait_for_url("**/accounts/login/**")
