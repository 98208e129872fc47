"""From a fresh folder to a picture, and what a second start beside it is told."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from PIL import Image

from gpuagent.protocol.manifest import PNG_KEY

from .people import CANARY, Program
from .product import Product

pytestmark = pytest.mark.slow_process


def test_picture_carries_its_manifest_and_is_made_again_byte_for_byte(program: Program) -> None:
    job = program.submit(wait=60, seed=7)
    assert job["status"] == "succeeded", job["error"]
    (output,) = job["outputs"]

    content = program.http.get(output["picture_url"]).content
    assert hashlib.sha256(content).hexdigest() == output["sha256"]
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (128, 128))
        manifest = json.loads(picture.info[PNG_KEY])
    assert CANARY in json.dumps(manifest)

    answer = program.http.post(f"outputs/{output['id']}/rerun", headers={"Prefer": "wait=60"})
    (again,) = answer.json()["outputs"]
    assert again["sha256"] == output["sha256"]
    detail = program.http.get(f"outputs/{again['id']}").json()
    assert detail["rerun"]["verdict"] == "identical"
    assert detail["manifest"] == manifest


def test_second_start_is_refused_in_a_sentence(product: Product) -> None:
    again = product.once("up")
    assert again.returncode == 1
    assert "The studio already runs from" in again.stdout
    assert product.url in again.stdout
    assert "Traceback" not in again.stdout

    beside = product.once("up", STUDIO_STATE=str(product.state.with_name("beside")))
    assert beside.returncode == 1
    assert f"Port {product.port} is taken by another program." in beside.stdout
    assert "Traceback" not in beside.stdout
