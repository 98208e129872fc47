"""A starting picture over the API, and a broken one."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from .people import Program

pytestmark = pytest.mark.slow_process


def png(color: str, *, width: int = 200, height: int = 160) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), color).save(encoded, "PNG")
    return encoded.getvalue()


def test_picture_is_made_from_an_upload(program: Program) -> None:
    answer = program.upload(png("firebrick"))
    assert answer.status_code == httpx.codes.CREATED, answer.text
    upload = answer.json()
    assert (upload["width"], upload["height"]) == (200, 160)

    recipe = {"image": upload["sha256"], "strength": 0.4, "seed": 3}
    job = program.submit(wait=60, **recipe)
    assert job["status"] == "succeeded", job["error"]
    assert (job["recipe"]["image"], job["recipe"]["strength"]) == (upload["sha256"], 0.4)
    content = program.http.get(job["outputs"][0]["picture_url"]).content
    with Image.open(io.BytesIO(content)) as picture:
        red, green, blue = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]  # of RGB: three
    assert red > max(green, blue) + 30, "the starting picture's colour is gone"


@pytest.mark.parametrize("content", [b"", b"no picture", png("navy")[:-40]])
def test_broken_upload_is_refused_as_a_problem(program: Program, content: bytes) -> None:
    answer = program.upload(content)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["errors"][0]["field"] == "image"
    assert problem["errors"][0]["message"].endswith((".", "!"))
