"""Starting pictures and API tokens, as the pages' scripts and forms use them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import ApiToken, User
from tests import factories
from tests.answers import text_of
from workspaces.models import Workspace

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


def test_a_token_is_shown_once_and_never_again(bobs: Client, workspace: Workspace) -> None:
    made = bobs.post("/settings/tokens", {"action": "create", "name": "Farm"})

    token = ApiToken.objects.get()
    text = text_of(made)
    plain = text[text.index("stu_") :].split("<")[0]
    assert made["Cache-Control"] == "no-store"
    assert (
        Client(headers={"Authorization": f"Bearer {plain}"}).get("/api/v1/jobs").status_code == 200
    )
    again = text_of(bobs.get("/settings/tokens"))
    assert plain not in again
    assert token.prefix in again


def test_a_token_without_a_name_is_refused(bobs: Client, workspace: Workspace) -> None:
    response = bobs.post("/settings/tokens", {"action": "create", "name": " "})
    assert response.status_code == 422
    assert "Give the token a name." in text_of(response)


def test_a_token_is_revoked_by_its_owner_only(
    client_of: Callable[[User], Client], bobs: Client, alice: User, workspace: Workspace
) -> None:
    bobs.post("/settings/tokens", {"action": "create", "name": "Farm"})
    token = ApiToken.objects.get()
    form = {"action": "revoke", "token": token.pk}

    assert client_of(alice).post("/settings/tokens", form).status_code == 404
    assert bobs.post("/settings/tokens", form).status_code == 302

    token.refresh_from_db()
    assert token.revoked_at is not None


def test_a_token_for_a_foreign_workspace_is_not_made(
    bobs: Client, workspace: Workspace, workspace_b: Workspace
) -> None:
    form = {"action": "create", "name": "Farm", "workspace": workspace_b.pk}
    assert bobs.post("/settings/tokens", form).status_code == 404
    assert not ApiToken.objects.exists()
