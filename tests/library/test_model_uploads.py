"""Files on their way into the library: in pieces, cut off, gone on with, refused, taken in."""

from __future__ import annotations

import errno
import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization, User
from accounts.roles import Role
from gpuagent.protocol.taxonomy import AssetKind
from jobs.actors import check_model_upload
from library.models import ModelAsset, ModelUpload, ModelVersion, UploadState
from library.presenters import upload_json, upload_row
from library.selectors import usable_adapters
from library.services import upload_store
from library.services.importing import check_upload, fetch_upload
from library.services.uploads import (
    STALE,
    begin_fetch,
    begin_upload,
    cancel_upload,
    get_upload,
    receive_piece,
    sweep_uploads,
    try_again,
)
from library.services.upscalers import converted, packaged_weights
from library.uploads import Details, read_details
from studio.core import storage
from studio.core.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StoreFullError,
)
from studio.core.models import OutboxMessage
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.core.test_fetching import open_guard
from tests.core.web import Answer, reply, site
from tests.library.single_file import make_tiny_model
from tests.upscalers import TINY, first_name, tiny_weights

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder")]
NEON = factories.HOUSE.parent / "adapters" / "neon" / "pytorch_lora_weights.safetensors"
PIECE = 64 * 1024
DETAILS = Details(name="Neon", licence="CC0", description="Light", trigger_words=("neon",))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch, settings: LazySettings, tmp_path: Path) -> None:
    monkeypatch.setattr(upload_store, "PIECE_BYTES", PIECE)
    settings.WORK_FOLDER = str(tmp_path / "work")


@pytest.fixture
def ada(alice: User) -> Actor:
    """An owner of A."""
    with system_scope():
        organization = alice.memberships.get().organization
    return Actor.of(alice.pk, organization.pk, Role.OWNER)


@pytest.fixture(autouse=True)
def _in_a(ada: Actor) -> Iterator[None]:
    with organization_scope(ada.organization_id):
        yield


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


def begin(actor: Actor, size: int, *, print_: str = "", name: str = "neon.safetensors") -> str:
    upload, _is_new = begin_upload(
        actor=actor, file_name=name, size_bytes=size, details=DETAILS, fingerprint=print_
    )
    return upload.pk


def send(actor: Actor, upload_id: str, content: bytes, *, until: int | None = None) -> ModelUpload:
    """All pieces from where it is, or some."""
    upload = get_upload(actor, upload_id)
    end = len(content) if until is None else until
    while upload.received_bytes < end:
        at = upload.received_bytes
        upload = receive_piece(
            actor=actor, upload_id=upload_id, offset=at, content=content[at : at + PIECE]
        )
    return upload


def check(upload_id: str) -> ModelUpload:
    """What the worker does."""
    with system_scope():
        assert check_upload(upload_id) is None
    return ModelUpload.objects.get(pk=upload_id)


def pieces_left(upload: ModelUpload) -> int:
    folder = f"incoming/{upload.organization_id}/{upload.pk}"
    try:
        return len(storage.store().listdir(folder)[1])
    except FileNotFoundError:
        return 0


@pytest.mark.usefixtures("house")
def test_a_lora_comes_in_pieces_and_can_be_chosen(ada: Actor) -> None:
    content = NEON.read_bytes()
    assert len(content) > 2 * PIECE, "several pieces"

    upload = send(ada, begin(ada, len(content)), content)
    assert upload.state == UploadState.CHECKING.value
    assert OutboxMessage.objects.get().args == [upload.pk]
    done = check(upload.pk)

    assert done.state == UploadState.DONE.value
    assert done.version is not None
    (version,) = usable_adapters()
    assert (version, version.asset.name) == (done.version, "Neon")
    assert (version.asset.kind, version.asset.licence) == (AssetKind.LORA.value, "CC0")
    assert version.asset.organization_id == ada.organization_id
    assert version.trigger_words == ["neon"]
    assert storage.open_object(version.files.get().storage_key).read() == content
    assert version.source_sha256 == version.files.get().sha256
    assert pieces_left(done) == 0
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"model_upload.begun", "model.registered"} <= actions


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("teal/learned_embeds", AssetKind.EMBEDDING),
        ("canny/diffusion_pytorch_model", AssetKind.CONTROLNET),
        ("../model/vae/diffusion_pytorch_model", AssetKind.VAE),
    ],
)
def test_other_kinds_come_the_same_way(ada: Actor, name: str, kind: AssetKind) -> None:
    content = (NEON.parents[1] / f"{name}.safetensors").read_bytes()
    upload_id = begin(ada, len(content), name="file.safetensors")
    send(ada, upload_id, content)
    done = check(upload_id)
    assert done.version is not None, done.problem
    assert done.version.asset.kind == kind.value


def test_an_upscaler_is_one_file(ada: Actor) -> None:
    with converted(packaged_weights() or Path(), "realesr-animevideov3-x4") as folder:
        content = (folder / "upscaler.safetensors").read_bytes()
    upload_id = begin(ada, len(content), name="realesr.safetensors")
    send(ada, upload_id, content)
    done = check(upload_id)
    assert done.version is not None, done.problem
    assert (done.version.asset.kind, done.version.architecture) == ("upscaler", "esrgan")


def test_a_large_upscaler_gets_the_names_that_agents_know(ada: Actor) -> None:
    from safetensors.torch import load, save

    content = save({first_name(name): tensor for name, tensor in tiny_weights(TINY).items()})
    upload_id = begin(ada, len(content), name="4x.safetensors")
    send(ada, upload_id, content)
    done = check(upload_id)
    assert done.version is not None, done.problem
    assert (done.version.asset.kind, done.version.architecture) == ("upscaler", "esrgan")
    assert done.version.source_sha256 == hashlib.sha256(content).hexdigest()
    files = {file.path: storage.open_object(file.storage_key) for file in done.version.files.all()}
    assert json.loads(files["config.json"].read()) == TINY
    loaded = load(files["upscaler.safetensors"].read())
    assert all(loaded[name].equal(tensor) for name, tensor in tiny_weights(TINY).items())


def test_a_checkpoint_is_one_file(ada: Actor, tmp_path: Path) -> None:
    path = make_tiny_model().save(tmp_path / "tiny.safetensors")
    content = path.read_bytes()
    upload_id = begin(ada, len(content), name="tiny.safetensors")
    send(ada, upload_id, content)
    done = check(upload_id)
    assert done.version is not None, done.problem
    assert done.version.architecture == "sd15"
    assert (done.version.default_width, done.version.default_height) == (512, 512)
    assert done.version.source_sha256 == hashlib.sha256(content).hexdigest()
    paths = set(done.version.files.values_list("path", flat=True))
    assert {"model_index.json", "tokenizer/vocab.json", "tokenizer/LICENSE.txt"} <= paths
    assert list((tmp_path / "work").iterdir()) == [], "nothing is left on the disk"


def test_what_was_cut_off_goes_on_where_it_was(ada: Actor) -> None:
    content = NEON.read_bytes()
    first = begin(ada, len(content), print_="abc")
    send(ada, first, content, until=PIECE)

    # The browser was killed; the same file is chosen again, under another description.
    again, is_new = begin_upload(
        actor=ada,
        file_name="neon.safetensors",
        size_bytes=len(content),
        details=Details(name="Neon light"),
        fingerprint="abc",
    )

    assert (again.pk, is_new, again.received_bytes) == (first, False, PIECE)
    assert again.details["name"] == "Neon light"
    assert send(ada, first, content).state == UploadState.CHECKING.value


def test_a_piece_that_was_cut_off_in_the_store_is_written_again(ada: Actor) -> None:
    content = NEON.read_bytes()
    upload = get_upload(ada, begin(ada, len(content)))
    storage.put(upload_store.piece_key(upload, 0), b"half")

    send(ada, upload.pk, content, until=PIECE)

    assert storage.open_object(upload_store.piece_key(upload, 0)).read() == content[:PIECE]


def test_two_tabs_help_each_other(ada: Actor) -> None:
    content = NEON.read_bytes()
    ids = {begin(ada, len(content), print_="abc") for _tab in range(2)}
    (upload_id,) = ids
    send(ada, upload_id, content, until=PIECE)

    with pytest.raises(ConflictError) as caught:  # the other tab has not heard of it
        receive_piece(actor=ada, upload_id=upload_id, offset=0, content=content[:PIECE])

    assert f"{PIECE:,}" in caught.value.message
    assert get_upload(ada, upload_id).received_bytes == PIECE
    whole = send(ada, upload_id, content)
    with pytest.raises(ConflictError):
        receive_piece(actor=ada, upload_id=upload_id, offset=0, content=content[:PIECE])
    assert OutboxMessage.objects.count() == 1
    assert whole.received_bytes == len(content)


def test_another_person_s_file_is_another_upload(ada: Actor, bob: User) -> None:
    other = Actor.of(bob.pk, ada.organization_id, Role.ADMIN)
    assert begin(ada, 1_000, print_="abc") != begin(other, 1_000, print_="abc")


@pytest.mark.parametrize("size", [0, PIECE - 1, PIECE + 1])
def test_a_piece_has_its_length(ada: Actor, size: int) -> None:
    upload_id = begin(ada, 3 * PIECE)
    with pytest.raises(InvalidInputError):
        receive_piece(actor=ada, upload_id=upload_id, offset=0, content=bytes(size))
    assert get_upload(ada, upload_id).received_bytes == 0


@pytest.mark.parametrize("name", ["model.ckpt", "Model.PT", "pytorch_model.bin", "x.pth", "a.pkl"])
def test_a_pickle_is_refused_before_a_byte_is_sent(ada: Actor, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        begin(ada, 1_000, name=name)
    assert "can run code" in caught.value.message
    assert "save_file" in caught.value.message, "what to do"


@pytest.mark.parametrize(
    "name", ["", "model", "model.zip", "../x.safetensors", "a\\b.safetensors", "a\n.safetensors"]
)
def test_only_plain_names_of_safetensors_files(ada: Actor, name: str) -> None:
    with pytest.raises(InvalidInputError):
        begin(ada, 1_000, name=name)


def test_limits(ada: Actor, settings: LazySettings) -> None:
    settings.MODEL_MAX_BYTES = 1_000
    with pytest.raises(InvalidInputError, match=r"input\.invalid"):
        begin(ada, 1_001)
    settings.MODEL_QUOTA_BYTES = 1_500
    begin(ada, 1_000)
    with pytest.raises(InvalidInputError) as caught:
        begin(ada, 501)
    assert caught.value.problems[0].code == "quota"
    settings.MODEL_QUOTA_BYTES = 10**9
    for _count in range(11):
        begin(ada, 16)
    with pytest.raises(BusyError):
        begin(ada, 16)


def test_a_full_disk_loses_nothing(ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    content = NEON.read_bytes()
    upload_id = begin(ada, len(content))
    send(ada, upload_id, content, until=PIECE)
    place = storage.store()
    save = type(place).save

    def full(*_args: object, **_options: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(place), "save", full)
    with pytest.raises(StoreFullError):
        receive_piece(
            actor=ada, upload_id=upload_id, offset=PIECE, content=content[PIECE : 2 * PIECE]
        )
    monkeypatch.setattr(type(place), "save", save)

    assert get_upload(ada, upload_id).received_bytes == PIECE
    assert send(ada, upload_id, content).state == UploadState.CHECKING.value


def test_a_full_disk_while_taking_in_can_be_tried_again(
    ada: Actor, house: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = NEON.read_bytes()
    upload_id = begin(ada, len(content))
    send(ada, upload_id, content)

    def full(key: str, path: Path) -> None:
        raise StoreFullError

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put_file", full)
        failed = check(upload_id)

    assert failed.state == UploadState.FAILED.value
    assert failed.problem["code"] == "store.full"
    assert not ModelAsset.objects.filter(name="Neon").exists()
    try_again(actor=ada, upload_id=upload_id, details=DETAILS)
    assert check(upload_id).state == UploadState.DONE.value
    assert house.asset.name != "Neon"


def test_a_file_that_fits_no_model_says_what_it_is(ada: Actor) -> None:
    header, at = {}, 0
    for name, shape in (("to_k.lora_down.weight", [4, 2_048]), ("to_k.lora_up.weight", [640, 4])):
        size = shape[0] * shape[1] * 2
        header[f"lora_unet_x_attn2_{name}"] = {
            "dtype": "F16",
            "shape": shape,
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(at)
    factories.make_model_version()
    upload_id = begin(ada, len(content))
    send(ada, upload_id, content)

    failed = check(upload_id)

    assert failed.problem["message"].startswith("neon.safetensors is a LoRA for SDXL. It fits no ")
    assert pieces_left(failed) > 0, "kept for another try"


@pytest.mark.usefixtures("house")
def test_a_refused_name_is_given_anew_without_sending_again(ada: Actor) -> None:
    content = NEON.read_bytes()
    taken = factories.make_model_version(
        organization=Organization.objects.get(pk=ada.organization_id), name="Neon"
    )
    upload_id = begin(ada, len(content))
    send(ada, upload_id, content)

    assert check(upload_id).problem["field"] == "name"
    with pytest.raises(ConflictError):
        try_again(actor=ada, upload_id=begin(ada, 64), details=DETAILS)
    try_again(actor=ada, upload_id=upload_id, details=read_details({"name": "Neon light"}))
    done = check(upload_id)

    assert done.version is not None
    assert done.version.asset.name == "Neon light"
    assert taken.asset.versions.count() == 1


def test_texts_of_files_are_kept_but_not_sent_back(ada: Actor) -> None:
    texts = {"config": "{" * 90_000, "preprocessor": "{}"}
    details = read_details({"name": "Maps", "licence": "MIT", **texts})
    begun, _is_new = begin_upload(
        actor=ada, file_name="maps.safetensors", size_bytes=64, details=details, fingerprint=""
    )
    assert begun.details.items() >= texts.items()
    for shown in (upload_json(begun), upload_row(begun)):
        assert shown["details"] == {
            "name": "Maps", "licence": "MIT", "description": "", "trigger_words": [],
        }  # fmt: skip


@pytest.mark.usefixtures("house")
def test_the_worker_may_be_told_twice_and_may_die(ada: Actor) -> None:
    content = NEON.read_bytes()
    upload_id = begin(ada, len(content))
    send(ada, upload_id, content)
    with system_scope():
        ModelUpload.objects.filter(pk=upload_id).update(claimed_at=timezone.now())
        assert check_upload(upload_id) == 60, "another worker is at it"
        ModelUpload.objects.filter(pk=upload_id).update(claimed_at=timezone.now() - STALE)
        OutboxMessage.objects.all().delete()
        sweep_uploads()
    assert OutboxMessage.objects.get().args == [upload_id], "woken, since that worker is gone"

    check_model_upload.fn(upload_id)
    check_model_upload.fn(upload_id)

    assert ModelVersion.objects.filter(asset__name="Neon").count() == 1


def test_what_nobody_goes_on_with_is_swept(ada: Actor) -> None:
    content = bytes(2 * PIECE)
    upload_id = begin(ada, len(content))
    upload = send(ada, upload_id, content, until=PIECE)
    with system_scope():
        assert sweep_uploads() == 0
        assert sweep_uploads(timezone.now() + timedelta(days=4)) == 1
    assert pieces_left(upload) == 0
    assert not ModelUpload.objects.exists()


def test_giving_up_forgets_the_bytes(
    ada: Actor, django_capture_on_commit_callbacks: object
) -> None:
    content = bytes(2 * PIECE)
    upload_id = begin(ada, len(content))
    upload = send(ada, upload_id, content, until=PIECE)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]  # pytest-django's
        cancel_upload(actor=ada, upload_id=upload_id)
    assert pieces_left(upload) == 0
    with pytest.raises(NotFoundError):
        get_upload(ada, upload_id)
    with pytest.raises(NotFoundError):
        receive_piece(actor=ada, upload_id=upload_id, offset=PIECE, content=content[PIECE:])


def test_others_do_not_see_it(ada: Actor, charlie_in_b: Actor, bob_in_a: Actor) -> None:
    upload_id = begin(ada, 64)
    owner_of_b = Actor.of(charlie_in_b.user_id, charlie_in_b.organization_id, Role.OWNER)
    with organization_scope(owner_of_b.organization_id):
        for call in (
            lambda: get_upload(owner_of_b, upload_id),
            lambda: cancel_upload(actor=owner_of_b, upload_id=upload_id),
            lambda: receive_piece(
                actor=owner_of_b, upload_id=upload_id, offset=0, content=bytes(64)
            ),
            lambda: try_again(actor=owner_of_b, upload_id=upload_id, details=DETAILS),
        ):
            with pytest.raises(NotFoundError):
                call()
    with pytest.raises(ForbiddenError):
        begin(bob_in_a, 64)


@pytest.mark.usefixtures("house")
def test_a_file_is_fetched_from_the_web(ada: Actor) -> None:
    content = NEON.read_bytes()
    with site(reply(content, "Content-Type: application/octet-stream")) as there:
        address = there.url(path="/download?token=secret")
        upload = begin_fetch(actor=ada, address=address, details=DETAILS)
        kept = ModelUpload.objects.get(pk=upload.pk)
        assert b"secret" not in bytes(kept.sealed_address or b"")
        with system_scope():
            fetch_upload(upload.pk, guard=open_guard())
    fetched = ModelUpload.objects.get(pk=upload.pk)
    assert (fetched.state, fetched.received_bytes) == ("checking", len(content))
    assert fetched.sealed_address is None

    assert check(upload.pk).state == UploadState.DONE.value
    assert usable_adapters()[0].asset.name == "Neon"


def test_the_guard_stands_before_the_web(ada: Actor) -> None:
    with site(reply(b"inside")) as there:
        upload = begin_fetch(actor=ada, address=there.url(), details=DETAILS)
        with system_scope():
            fetch_upload(upload.pk)  # the strict guard: loopback is not the public internet
        assert not there.asked
    failed = ModelUpload.objects.get(pk=upload.pk)
    assert failed.state == UploadState.FAILED.value
    assert failed.sealed_address is None
    assert pieces_left(failed) == 0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"<html>", "Content-Type: text/html"), "not_a_file"),
        (reply(bytes(2_000)), "too_large"),
        (reply(b"short", "Content-Length: 900"), "unreachable"),
        (reply(b"", status="404 Not Found"), "no_file_there"),
    ],
)
def test_what_cannot_be_fetched_says_why(
    ada: Actor, settings: LazySettings, answer: Answer, code: str
) -> None:
    settings.MODEL_MAX_BYTES = 1_000
    with site(answer) as there:
        upload = begin_fetch(actor=ada, address=there.url(), details=DETAILS)
        with system_scope():
            fetch_upload(upload.pk, guard=open_guard())
    failed = ModelUpload.objects.get(pk=upload.pk)
    assert (failed.state, failed.problem["code"]) == (UploadState.FAILED.value, code)
    assert pieces_left(failed) == 0


@pytest.mark.parametrize("header", [("Content-Length: 501",), ()])
def test_a_fetched_file_must_fit_into_the_quota_too(
    ada: Actor, settings: LazySettings, header: tuple[str, ...]
) -> None:
    settings.MODEL_QUOTA_BYTES = 1_500
    begin(ada, 1_000)
    with site(reply(bytes(501), *header)) as there:
        upload = begin_fetch(actor=ada, address=there.url(), details=DETAILS)
        with system_scope():
            fetch_upload(upload.pk, guard=open_guard())
    failed = ModelUpload.objects.get(pk=upload.pk)
    assert (failed.state, failed.problem["code"]) == (UploadState.FAILED.value, "quota")
    assert pieces_left(failed) == 0


@pytest.mark.parametrize("address", ["", "ftp://a.example/x", "file:///etc/passwd", "//a", 7])
def test_only_web_addresses(ada: Actor, address: object) -> None:
    with pytest.raises(InvalidInputError):
        begin_fetch(actor=ada, address=address, details=DETAILS)


def test_a_pickle_s_address_is_refused_at_once(ada: Actor) -> None:
    with pytest.raises(InvalidInputError, match=r"input\.invalid"):
        begin_fetch(actor=ada, address="https://a.example/model.ckpt", details=DETAILS)
    assert not ModelUpload.objects.exists()
