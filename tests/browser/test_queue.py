"""The queue drawer: put one's jobs in order, pause, ask again; two tabs show the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_first_picture import generate, tile, wait_for_picture, write_prompt

pytestmark = pytest.mark.browser


def choose(page: Page, tier: str) -> None:
    page.get_by_role("radio", name=tier).check(force=True)


def expect_order(page: Page, jobs: list[str], wanted: str) -> None:
    rows = page.locator("#queue [data-line]")
    for at, place in enumerate(wanted):
        expect(rows.nth(at)).to_have_attribute("data-job", jobs[int(place)])


@pytest.fixture
def held(room: Page) -> Iterator[str]:
    """A job that keeps the only agent busy until it is canceled."""
    write_prompt(room, "photo of a white house at sunset", steps=150, size=512)
    room.locator("#id_num_images_per_prompt").fill("4")
    choose(room, "Turbo")
    job = generate(room)
    room.locator(tile(room, job) + '[data-status="running"]').first.wait_for()
    room.locator("#id_num_images_per_prompt").fill("1")
    yield job
    if room.locator(f"#cancel-{job}").count():
        room.locator(f"#cancel-{job}").click()


def wait_behind(page: Page, count: int) -> list[str]:
    jobs = []
    choose(page, "Fast")
    for number in range(count):
        write_prompt(page, f"sketch of a green boat {number}", steps=4, size=128)
        jobs.append(generate(page))
    expect_order(page, jobs, "".join(map(str, range(count))))
    return jobs


def test_jobs_are_reordered_by_keyboard_button_and_mouse_in_both_tabs(
    room: Page, context: BrowserContext, held: str
) -> None:
    jobs = wait_behind(room, 3)
    other = context.new_page()
    other.goto(room.url)
    expect_order(other, jobs, "012")

    # With the keyboard, on the handle, which keeps the focus
    room.locator(f"#handle-{jobs[2]}").focus()
    room.keyboard.press("Home")
    for page in (room, other):
        expect_order(page, jobs, "201")
    expect(room.locator(f"#handle-{jobs[2]}")).to_be_focused()

    # By a button
    room.locator(f"#more-{jobs[2]}").click()
    room.locator(f"#down-{jobs[2]}").click()
    for page in (room, other):
        expect_order(page, jobs, "021")
    expect(room.locator(f"#strip-{jobs[2]}")).to_be_visible()
    room.keyboard.press("Escape")

    # With the mouse: the last before the first
    handle, target = (room.locator(f"#handle-{jobs[at]}") for at in (1, 0))
    room.evaluate("id => document.getElementById(id).scrollIntoView()", f"handle-{jobs[1]}")
    start = handle.bounding_box()
    assert start
    room.mouse.move(start["x"] + 6, start["y"] + start["height"] / 2)
    room.mouse.down()
    room.mouse.move(start["x"] + 6, start["y"] - 10, steps=4)
    end = target.bounding_box()
    assert end
    room.mouse.move(start["x"] + 6, end["y"] + 3, steps=4)
    room.mouse.up()
    for page in (room, other):
        expect_order(page, jobs, "102")

    # And they are made in that order
    room.locator(f"#cancel-{held}").click()
    for job in jobs:
        wait_for_picture(other, job)


def test_a_paused_job_waits_until_it_is_resumed(room: Page, held: str) -> None:
    jobs = wait_behind(room, 2)
    room.locator(f"#more-{jobs[0]}").click()
    room.locator(f"#pause-{jobs[0]}").click()
    expect(room.locator(f"#queue-{jobs[0]}")).to_contain_text("Paused")
    room.locator(f"#cancel-{held}").click()
    wait_for_picture(room, jobs[1])
    expect(room.locator(tile(room, jobs[0]))).to_have_attribute("data-status", "queued")
    room.locator(f"#resume-{jobs[0]}").click()
    wait_for_picture(room, jobs[0])


def test_a_canceled_job_is_asked_for_again(room: Page, held: str) -> None:
    [job] = wait_behind(room, 1)
    room.locator(f"#cancel-{job}").click()
    with room.expect_response(lambda r: r.url.endswith("/retry")) as answer:
        room.locator(f"#retry-{job}").click()
    match = re.search(r'data-job="(job_\w+)"', answer.value.text())
    assert match
    assert answer.value.status == 201
    expect(room.locator(f"#retry-{job}")).to_have_count(0)
    room.locator(f"#cancel-{held}").click()
    wait_for_picture(room, match.group(1))


def test_it_says_before_pressing_what_it_costs_and_why_it_waits_after(
    room: Page, held: str
) -> None:
    expect(room.locator("tier-picker [data-part='price']")).to_contain_text("GPU s")
    jobs = wait_behind(room, 2)
    expect(room.locator("tier-picker [data-part='ahead']")).to_contain_text("2 yours")
    second = room.locator(f"#queue-{jobs[1]}")
    expect(second).to_contain_text("Behind 1 of yours", timeout=10_000)
    expect(second).to_contain_text("Fast")
    room.reload()
    expect(room.get_by_role("radio", name="Fast")).to_be_checked()
