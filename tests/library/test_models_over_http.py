"""Models over pages and API: listed, described anew, removed, restored; files added."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import AuditEvent, Organization, User
from accounts.roles import Role
from library.memory import loaded_bytes, note_memory
from library.models import ModelAsset, ModelUpload, ModelVersion
from library.selectors import find_version, usable_versions
from library.services import upload_store
from library.services.importing import check_upload
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.answers import Answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder")]
NEON = factories.HOUSE.parent / "adapters" / "neon" / "pytorch_lora_weights.safetensors"
MODELS = "/api/v1/models"
PIECE = 64 * 1024


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, settings: LazySettings, tmp_path: Path) -> None:
    monkeypatch.setattr(upload_store, "PIECE_BYTES", PIECE)
    settings.WORK_FOLDER = str(tmp_path / "work")


@pytest.fixture
def own(organization_a: Organization) -> ModelVersion:
    return factories.make_model_version(organization=organization_a, name="Own")


@pytest.fixture
def api(alice: User, organization_a: Organization, api_of: Callable[..., Client]) -> Client:
    return api_of(alice, organization_a)


def test_what_is_said_is_changed_and_noted(
    api: Client, own: ModelVersion, organization_a: Organization
) -> None:
    address = f"{MODELS}/{own.asset_id}"
    preset = {"name": "Draft", "recipe": {"num_inference_steps": 8}}
    body = {"licence": "MIT", "example_prompts": ["a mug", " "], "presets": [preset]}

    answer = api.patch(address, body, "application/json")

    said = answer.json()
    assert answer.status_code == 200
    assert (said["licence"], said["example_prompts"]) == ("MIT", ["a mug"])
    assert said["presets"] == [preset]
    assert said["versions"][0]["digest"] == own.digest
    with organization_scope(organization_a.pk):
        event = AuditEvent.objects.get(action="model.changed")
        assert event.details == {"fields": ["example_prompts", "licence", "presets"]}
    assert api.patch(address, body, "application/json").status_code == 200
    with organization_scope(organization_a.pk):
        assert AuditEvent.objects.filter(action="model.changed").count() == 1, "nothing changed"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Other"},
        {"licence": 7},
        {"licence": "x" * 121},
        {"description": "x" * 4_001},
        {"example_prompts": "one"},
        {"example_prompts": ["x"] * 13},
        {"presets": {}},
        {"presets": [{"name": "Bad", "recipe": {"num_inference_steps": 0}}]},
        [],
    ],
)
def test_what_cannot_be_said(api: Client, own: ModelVersion, body: object) -> None:
    answer = api.patch(f"{MODELS}/{own.asset_id}", body, "application/json")
    assert answer.status_code == 422, answer.json()


def test_a_removed_model_is_not_offered_and_still_runs(
    api: Client, own: ModelVersion, organization_a: Organization
) -> None:
    address = f"{MODELS}/{own.asset_id}"
    assert own.asset_id in {model["id"] for model in api.get(MODELS).json()}
    removed = api.delete(address)
    assert removed.status_code == 200
    assert removed.json()["removed_at"] is not None
    assert api.delete(address).json()["removed_at"] == removed.json()["removed_at"], "twice is fine"

    with organization_scope(organization_a.pk):
        assert usable_versions() == []
        assert find_version(own.digest) == own, "what was made with it can be made again"
    assert own.asset_id not in {model["id"] for model in api.get(MODELS).json()}

    assert api.post(f"{address}/restore").json()["removed_at"] is None
    with organization_scope(organization_a.pk):
        assert usable_versions() == [own]
        actions = list(AuditEvent.objects.values_list("action", flat=True))
    assert actions.count("model.removed") == actions.count("model.restored") == 1


def test_registered_again_a_removed_model_is_back(
    api: Client, own: ModelVersion, organization_a: Organization
) -> None:
    api.delete(f"{MODELS}/{own.asset_id}")
    again = factories.make_model_version(organization=organization_a, name="Own")
    assert again == own
    with organization_scope(organization_a.pk):
        assert usable_versions() == [own]


def test_public_models_are_the_operators(
    api: Client, api_of: Callable[..., Client], alice: User, organization_a: Organization
) -> None:
    public = factories.make_model_version()
    address = f"{MODELS}/{public.asset_id}"
    assert api.get(address).json()["is_public"] is True
    assert api.patch(address, {"licence": "Mine"}, "application/json").status_code == 403
    assert api.delete(address).status_code == 403

    User.objects.filter(pk=alice.pk).update(is_operator=True)
    operator = api_of(User.objects.get(pk=alice.pk), organization_a)
    answer = operator.patch(address, {"licence": "CC0"}, "application/json")
    assert answer.status_code == 200
    assert answer.json()["licence"] == "CC0"


def test_another_organization_s_models_are_not_there(
    own: ModelVersion, charlie: User, organization_b: Organization, api_of: Callable[..., Client]
) -> None:
    api = api_of(charlie, organization_b)
    unknown = f"{MODELS}/mdl_00000000000000000000000000"
    for address in (f"{MODELS}/{own.asset_id}", unknown, f"{MODELS}/a%00b"):
        assert api.get(address).status_code == 404


def put(api: Client, address: str, offset: int, content: bytes) -> Answer:
    return api.put(
        f"{address}/content?offset={offset}", content, content_type="application/octet-stream"
    )


def test_a_program_adds_a_file(api: Client, organization_a: Organization) -> None:
    factories.make_model_version()
    content = NEON.read_bytes()
    body = {"name": "Neon", "file_name": "neon.safetensors", "size_bytes": len(content)}
    begun = api.post(f"{MODELS}/uploads", {**body, "fingerprint": "f"}, "application/json")
    assert begun.status_code == 201
    upload = begun.json()
    address = f"{MODELS}/uploads/{upload['id']}"

    for offset in range(0, len(content), PIECE):
        answer = put(api, address, offset, content[offset : offset + PIECE])
        assert answer.status_code == 200, answer.json()
        assert api.get(address).json()["received_bytes"] == answer.json()["received_bytes"]
    assert put(api, address, 0, content[:PIECE]).status_code == 409
    assert api.get(address).json()["state"] == "checking"
    with system_scope():
        check_upload(upload["id"])

    done = api.get(address).json()
    assert (done["state"], done["problem"]) == ("done", None)
    assert api.get(f"{MODELS}/{done['model']}").json()["versions"][0]["digest"] == done["digest"]
    with organization_scope(organization_a.pk):
        assert ModelAsset.objects.get(pk=done["model"]).organization_id == organization_a.pk


@pytest.mark.parametrize(
    ("query", "content", "status"),
    [
        ("offset=0", bytes(PIECE + 1), 422),
        ("offset=0", b"", 422),
        ("offset=-1", bytes(PIECE), 422),
        ("offset=x", bytes(PIECE), 422),
        ("", bytes(PIECE), 422),
        (f"offset={PIECE}", bytes(PIECE), 409),
        (f"offset={10**14}", bytes(PIECE), 409),
    ],
)
def test_odd_pieces_change_nothing(api: Client, query: str, content: bytes, status: int) -> None:
    body = {"name": "Neon", "file_name": "neon.safetensors", "size_bytes": 3 * PIECE}
    upload = api.post(f"{MODELS}/uploads", body, "application/json").json()
    address = f"{MODELS}/uploads/{upload['id']}"
    answer = api.put(f"{address}/content?{query}", content, content_type="text/plain")
    assert answer.status_code == status, answer.json()
    assert api.get(address).json()["received_bytes"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "file_name": "x.ckpt", "size_bytes": 99}, "file"),
        ({"name": "x", "file_name": "x.safetensors"}, "size_bytes"),
        ({"name": "x", "file_name": "x.safetensors", "size_bytes": True}, "size_bytes"),
        ({"name": "x", "url": "http//"}, "url"),
        ({"name": "x", "path": "/etc/passwd"}, "path"),
        ({"name": "x", "trigger_words": [1]}, "trigger_words"),
        ({"name": "x" * 121, "licence": "y" * 121}, "name"),
    ],
)
def test_what_cannot_be_begun(api: Client, body: dict[str, object], field: str) -> None:
    answer = api.post(f"{MODELS}/uploads", body, "application/json")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    with system_scope():
        assert not ModelUpload.objects.exists()


def test_a_refused_file_is_checked_again_and_given_up(api: Client) -> None:
    content = NEON.read_bytes()[: PIECE // 2]  # cut short
    body = {"name": "Neon", "file_name": "neon.safetensors", "size_bytes": len(content)}
    upload = api.post(f"{MODELS}/uploads", body, "application/json").json()
    address = f"{MODELS}/uploads/{upload['id']}"
    put(api, address, 0, content)
    with system_scope():
        check_upload(upload["id"])
    problem = api.get(address).json()["problem"]
    assert "cut short" in problem["message"] or "header" in problem["message"]
    again = api.post(f"{address}/retry", {"name": "Neon"}, "application/json")
    assert (again.status_code, again.json()["state"]) == (202, "checking")
    assert api.delete(address).status_code == 204
    assert api.get(address).status_code == 404


def test_pages(
    client_of: Callable[[User], Client],
    alice: User,
    bob: User,
    own: ModelVersion,
    organization_a: Organization,
) -> None:
    with system_scope():
        note_memory(own, "H200", resident_bytes=3 * 1024**3, peak_bytes=5 * 1024**3)
    base = f"/o/{organization_a.pk}/models"
    owner, artist = client_of(alice), client_of(bob)

    page = owner.get(base).content.decode()
    assert "Own" in page
    assert "3.0\xa0GB on H200" in page
    assert "model-upload" in page
    assert "model-upload" not in artist.get(base).content.decode(), "an artist only looks"
    address = f"{base}/{own.asset_id}"
    said = {"licence": "MIT", "description": "Quiet", "example_prompts": "a mug\n", "presets": "["}
    refused = owner.post(f"{address}/change", said)
    assert refused.status_code == 422
    assert "Presets must be a list in JSON" in refused.content.decode()
    assert "Quiet" in refused.content.decode(), "what was typed is still there"
    assert owner.post(f"{address}/change", {**said, "presets": "[]"}).status_code == 302
    assert artist.post(f"{address}/change", said).status_code == 403
    assert owner.post(f"{address}/remove").status_code == 302
    assert "cannot be chosen any more" in owner.get(base).content.decode()
    assert "Own" not in owner.get(base).content.decode()
    assert "Own" in owner.get(f"{base}?removed=1").content.decode()
    assert "Restore" in owner.get(address).content.decode()
    assert owner.post(f"{address}/restore").status_code == 302


def test_the_page_s_own_calls(
    client_of: Callable[[User], Client], alice: User, organization_a: Organization
) -> None:
    factories.make_model_version()
    content = NEON.read_bytes()[:1_000]
    base, client = f"/o/{organization_a.pk}/models", client_of(alice)
    form = {"name": "Neon", "file_name": "n.safetensors", "size_bytes": "1000", "fingerprint": "f"}
    begun = client.post(f"{base}/uploads", form).json()
    assert client.post(f"{base}/uploads", form).json()["id"] == begun["id"], "a double click"
    live = client.get(f"{base}/live").content.decode()
    assert "choose the same file again" in live
    sent = client.put(f"{begun['content_url']}?offset=0", content, "application/octet-stream")
    assert sent.json()["state"] == "checking"
    with system_scope():
        check_upload(begun["id"])
    assert client.get(begun["state_url"]).json()["state"] == "failed"
    assert client.post(begun["retry_url"], {"name": "Neon"}).status_code == 202
    assert client.post(f"{base}/uploads/{begun['id']}/cancel").status_code == 302
    assert "Neon" not in client.get(f"{base}/live").content.decode()


def test_measured_memory_keeps_the_highest(own: ModelVersion) -> None:
    with system_scope():
        for peak in (5, 9, 7):
            note_memory(own, "cpu", resident_bytes=3, peak_bytes=peak)
            own.refresh_from_db()
        note_memory(own, "cpu", resident_bytes=0, peak_bytes=0)
        own.refresh_from_db()
    assert own.memory == {"cpu": {"resident_bytes": 3, "peak_bytes": 9}}
    assert loaded_bytes(own, {"cpu"}) == 3
    assert loaded_bytes(own, {"cpu", "H200"}) == 0, "not known of all"


def test_roles_that_may_not(
    api_of: Callable[..., Client], organization_a: Organization, own: ModelVersion
) -> None:
    for role in (Role.ARTIST, Role.VIEWER):
        api = api_of(factories.make_member(organization_a, role), organization_a)
        assert api.get(f"{MODELS}/{own.asset_id}").status_code == 200
        assert api.get(f"{MODELS}/uploads").status_code == 403
        assert api.delete(f"{MODELS}/{own.asset_id}").status_code == 403
