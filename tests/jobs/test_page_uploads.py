"""Starting pictures, as the pages' scripts use them."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


def test_an_upload_answers_with_an_address(bobs: Client, room: str) -> None:
    file = SimpleUploadedFile("cat.png", factories.make_png("red"), "image/png")

    response = bobs.post(f"{room}/uploads", {"image": file})

    body = response.json()
    assert (response.status_code, body["width"]) == (201, 64)
    assert bobs.get(body["url"]).status_code == 200


def test_a_broken_upload_is_a_problem_for_scripts(bobs: Client, room: str) -> None:
    file = SimpleUploadedFile("cat.png", b"text", "image/png")
    accept = {"Accept": "application/json"}

    response = bobs.post(f"{room}/uploads", {"image": file}, headers=accept)

    assert response.status_code == 422
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["errors"][0]["code"] == "broken"
