"""The export: everything of an organization, byte for byte, and nothing of another."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponseBase
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, AuditEvent, Membership, Organization, User
from accounts.roles import Permission, Role
from accounts.selectors import actor_of_token
from accounts.services.tokens import create_token
from accounts.token_limits import Limits
from gpuagent.protocol.sealing import SEGMENT_BYTES
from jobs.export import contents, records
from jobs.export.archive import Archive, gather, safe_name
from jobs.models import InputRole, Job, Output
from jobs.services import export
from jobs.services.deletion import delete_workspace
from jobs.services.export import begin_export
from jobs.services.sharing import TITLE_KIND
from library.models import ModelVersion
from studio.core import storage
from studio.core.errors import ForbiddenError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Artifact, ShareLink, Workspace
from workspaces.services.artifacts import read_all, read_range
from workspaces.services.keys import seal_in
from workspaces.services.projects import create_project

pytestmark = pytest.mark.django_db


def take(actor: Actor) -> zipfile.ZipFile:
    """The whole export, opened; Python's own reader has checked every CRC."""
    with organization_scope(actor.organization_id):
        content = b"".join(begin_export(actor=actor))
    return opened(content)


def opened(content: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    return archive


def body(response: HttpResponseBase) -> bytes:
    return b"".join(response)


def lines(archive: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(name).decode().splitlines()]


def folder_of(workspace: Workspace) -> str:
    return f"workspaces/{safe_name(workspace.name, workspace.pk)}"


def errors(archive: zipfile.ZipFile) -> str:
    return archive.read("errors.txt").decode()


@pytest.fixture
def full(
    alice: User,
    alice_in_a: Actor,
    workspace: Workspace,
    output: Output,
    agent: AgentHandle,
    organization_a: Organization,
) -> Workspace:
    """A room with pictures (one in the trash), a starting picture, a project, a link, a team."""
    image = factories.make_input(workspace, os.urandom(2 * SEGMENT_BYTES + 17))
    trashed = factories.make_output(alice_in_a, workspace, agent.row, color="navy")
    with organization_scope(organization_a.pk):
        Output.objects.filter(pk=trashed.pk).update(trashed_at=timezone.now())
        for role in InputRole:
            trashed.job.inputs.create(organization=organization_a, artifact=image, role=role)
        where = {"organization_id": organization_a.pk, "workspace": workspace, "created_by": alice}
        create_project(actor=alice_in_a, workspace=workspace, name="Launch")
        link = ShareLink(token_hash="f00d" * 16, expires_at=timezone.now(), **where)
        words = b'{"title": "For the client", "watermark": "Draft"}'
        link.sealed_title = seal_in(workspace, words, kind=TITLE_KIND, object_id=link.pk)
        link.save()
    team = factories.make_team(organization_a, alice, name="Layout")
    factories.make_grant(workspace, team)
    return workspace


def test_every_picture_is_in_it_byte_for_byte(full: Workspace, alice_in_a: Actor) -> None:
    archive = take(alice_in_a)
    names = set(archive.namelist())
    with system_scope():
        outputs = list(Output.objects.select_related("picture__workspace", "workspace"))
        starting = Artifact.objects.select_related("workspace").get(kind="input")
        assert len(outputs) == 2
        for output in outputs:
            path = f"{folder_of(full)}/pictures/{output.pk}"
            assert archive.read(f"{path}.png") == read_all(output.picture)
            record = json.loads(archive.read(f"{path}.json"))
            assert factories.PROMPT in json.dumps(record["manifest"])
            assert bool(record["trashed_at"]) == (output.trashed_at is not None)
        path = f"{folder_of(full)}/starting-pictures/{starting.pk}.png"
        assert archive.read(path) == read_all(starting)
        assert len(archive.read(path)) == 2 * SEGMENT_BYTES + 17
    assert "thumbnail" not in " ".join(names)
    assert errors(archive) == "Nothing is missing and nothing is damaged.\n"


def test_the_records_are_in_it(
    full: Workspace, alice: User, bob: User, alice_in_a: Actor, organization_a: Organization
) -> None:
    archive = take(alice_in_a)
    assert json.loads(archive.read("organization.json"))["id"] == organization_a.pk
    members = json.loads(archive.read("members.json"))
    assert {(m["email"], m["role"]) for m in members} == {
        ("alice@alpha.example", "owner"),
        ("bob@alpha.example", "artist"),
    }
    (team,) = json.loads(archive.read("teams.json"))
    assert (team["name"], team["members"]) == ("Layout", [alice.pk])
    (model,) = json.loads(archive.read("models.json"))
    assert model["versions"][0]["files"]
    folder = folder_of(full)
    room = json.loads(archive.read(f"{folder}/workspace.json"))
    assert room["grants"][0]["team"] == team["id"]
    assert [p["name"] for p in lines(archive, f"{folder}/projects.ndjson")] == ["Launch"]
    (link,) = lines(archive, f"{folder}/share-links.ndjson")
    assert (link["title"], link["watermark"]) == ("For the client", "Draft")
    assert "f00d" not in json.dumps(link)
    jobs = lines(archive, f"{folder}/jobs.ndjson")
    assert {job["recipe"]["prompt"] for job in jobs} == {factories.PROMPT}
    assert {job["created_by"] for job in jobs} == {alice.pk, bob.pk}
    with system_scope():
        image = Artifact.objects.get(kind="input").pk
    given = {(job["starting_picture"], job["mask"]) for job in jobs}
    assert given == {(None, None), (image, image)}
    led = [job["controls"] + job["references"] for job in jobs]
    assert sorted(led) == [[], [image] * 6]
    log = lines(archive, "audit-log.ndjson")
    assert log[-1]["action"] == "organization.exported"
    assert len(log) == len({event["id"] for event in log}) == 4
    assert organization_a.name in archive.read("README.txt").decode()


def test_the_sums_are_of_all_other_files(full: Workspace, alice_in_a: Actor) -> None:
    archive = take(alice_in_a)
    listed = archive.read("SHA256SUMS").decode().splitlines()
    sums = {line[66:]: line[:64] for line in listed}
    assert set(sums) == set(archive.namelist()) - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest, name


def test_no_secret_is_in_it(full: Workspace, bob: User, alice_in_a: Actor) -> None:
    with system_scope():
        bob.refresh_from_db()
        key = bytes(Workspace.objects.get(pk=full.pk).wrapped_key)
    archive = take(alice_in_a)
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert bob.password.encode() not in everything
    assert key not in everything
    assert key.hex().encode() not in everything


def test_it_holds_nothing_of_another_organization(
    full: Workspace,
    charlie: User,
    charlie_in_b: Actor,
    workspace_b: Workspace,
    agent: AgentHandle,
    alice_in_a: Actor,
    organization_b: Organization,
) -> None:
    theirs = factories.make_output(charlie_in_b, workspace_b, agent.row, prompt="their secret")
    ours = take(alice_in_a)
    everything = b"".join(ours.read(name) for name in ours.namelist())
    for trace in (theirs.pk, workspace_b.pk, organization_b.pk, charlie.pk, "their secret"):
        assert trace.encode() not in everything
        assert trace not in " ".join(ours.namelist())
    other = take(charlie_in_b)
    assert [name for name in other.namelist() if theirs.pk in name]
    assert full.pk not in " ".join(other.namelist())


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_there(
    full: Workspace, output: Output, alice_in_a: Actor, agent: AgentHandle
) -> None:
    lost = factories.make_output(alice_in_a, full, agent.row, color="red")
    broken = factories.make_output(alice_in_a, full, agent.row, color="green")
    swapped = factories.make_output(alice_in_a, full, agent.row, color="gold")
    storage.delete(lost.picture.storage_key)
    with storage.open_object(broken.picture.storage_key) as file:
        spoiled = bytearray(file.read())
    spoiled[-20] ^= 1
    storage.put(broken.picture.storage_key, bytes(spoiled))
    with organization_scope(full.organization_id):
        Artifact.objects.filter(pk=swapped.picture_id).update(sha256="0" * 64)
        Output.objects.filter(pk=output.pk).update(sealed_manifest=b"x" * 80)
        Job.objects.filter(pk=output.job_id).update(sealed_recipe=b"x" * 80)
    archive = take(alice_in_a)
    said = errors(archive)
    names = archive.namelist()
    for gone in (lost, broken, swapped):
        assert f"pictures/{gone.pk}.png" in said
        assert f"{folder_of(full)}/pictures/{gone.pk}.png" not in names
        assert f"{folder_of(full)}/pictures/{gone.pk}.json" in names
    assert "the store has lost it" in said
    assert said.count("damaged") == 2
    assert f"{output.pk}: its manifest does not open" in said
    assert f"{output.job_id}: its recipe does not open" in said
    assert len(said.splitlines()) == 5
    assert f"{folder_of(full)}/pictures/{output.pk}.png" in names


def test_a_large_picture_that_breaks_between_checking_and_writing_is_named(
    full: Workspace, alice_in_a: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "HELD_BYTES", 1 << 20)
    read, times = read_range, iter(range(100))

    def breaking(artifact: Artifact, start: int, stop: int) -> Iterator[bytes]:
        pieces = read(artifact, start, stop)
        if artifact.kind != "input" or next(times) == 0:
            yield from pieces
            return
        yield next(pieces)
        raise OSError("gone")

    monkeypatch.setattr(contents, "read_range", breaking)
    archive = take(alice_in_a)
    assert "cut off" in errors(archive)


def test_a_deleted_workspace_is_not_in_it(full: Workspace, alice_in_a: Actor) -> None:
    with organization_scope(full.organization_id):
        delete_workspace(actor=alice_in_a, workspace=full)
    assert full.pk not in " ".join(take(alice_in_a).namelist())


@pytest.mark.parametrize("role", [Role.ADMIN, Role.ARTIST, Role.VIEWER, Role.BILLING])
def test_owners_alone_take_it(organization_a: Organization, role: Role) -> None:
    actor = factories.make_actor(factories.make_member(organization_a, role), organization_a)
    with pytest.raises(ForbiddenError):
        take(actor)
    with system_scope():
        assert not AuditEvent.objects.filter(action="organization.exported").exists()


def test_not_with_a_token_for_certain_workspaces(
    alice: User, organization_a: Organization, workspace: Workspace
) -> None:
    limits = Limits(workspace_ids=frozenset({workspace.pk}))
    token = factories.make_token(alice, organization_a, limits=limits)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    assert api.get("/api/v1/organization/export").status_code == 403
    looks = Limits(scopes=frozenset({Permission.OUTPUT_VIEW}))
    token = factories.make_token(alice, organization_a, limits=looks)
    api = Client(headers={"Authorization": f"Bearer {token}"})
    assert api.get("/api/v1/organization/export").status_code == 403


def test_who_is_no_owner_any_more_gets_no_further(
    full: Workspace, alice: User, alice_in_a: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CHECK_SECONDS", 0.0)
    with organization_scope(full.organization_id):
        pieces = begin_export(actor=alice_in_a)
        Membership.objects.filter(user=alice).update(role=Role.ARTIST.value)
        with pytest.raises(ForbiddenError):
            list(pieces)


def test_a_token_that_expires_meanwhile_gets_no_further(
    full: Workspace, alice_in_a: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CHECK_SECONDS", 0.0)
    with organization_scope(full.organization_id):
        token, _plain = create_token(actor=alice_in_a, name="backup")
        program = actor_of_token(token)
        assert program is not None
        pieces = begin_export(actor=program)
        ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())
        with pytest.raises(ForbiddenError):
            list(pieces)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Perfume", "Perfume-wsp_1"),
        ("../../etc/passwd", "etc-passwd-wsp_1"),
        ("..", "wsp_1"),
        ("CON", "CON-wsp_1"),
        ("Frühling / Sommer: 2027?*", "Fruhling-Sommer-2027-wsp_1"),
        ("香水", "wsp_1"),
        ("a\\b\x00c\u202ed", "a-b-cd-wsp_1"),
        ("x" * 200, "x" * 40 + "-wsp_1"),
        ("-rf", "rf-wsp_1"),
    ],
)
def test_names_of_folders_are_safe(name: str, folder: str) -> None:
    assert safe_name(name, "wsp_1") == folder


@pytest.mark.django_db(transaction=True)
def test_it_is_streamed_to_an_owner(
    full: Workspace,
    alice: User,
    organization_a: Organization,
    api_of: Callable[[User, Organization], Client],
) -> None:
    response = api_of(alice, organization_a).get("/api/v1/organization/export")
    assert response.status_code == 200
    assert response.streaming
    assert response["Content-Type"] == "application/zip"
    assert organization_a.name not in response["Content-Disposition"]
    with system_scope():
        event = AuditEvent.objects.get(action="organization.exported")
    assert (event.actor_id, event.address) == (alice.pk, "127.0.0.1"), "audited before it is sent"
    archive = opened(body(response))
    assert len([n for n in archive.namelist() if n.endswith(".png")]) == 3


@pytest.mark.django_db(transaction=True)
def test_the_page_asks_whether_it_is_still_them(
    full: Workspace, alice: User, organization_a: Organization, client_of: Callable[[User], Client]
) -> None:
    client, path = client_of(alice), f"/o/{organization_a.pk}/export"
    page = client.get(path).content.decode()
    assert "Confirm that it is you" in page
    assert "Download the export" not in page
    refused = client.post(path)
    assert refused.status_code == 302
    assert refused["Location"].startswith("/accounts/confirm/")
    with system_scope():
        assert not AuditEvent.objects.filter(action="organization.exported").exists()

    confirmed = client.post(f"/accounts/confirm/?next={path}", {"password": factories.PASSWORD})
    assert confirmed.status_code == 200, "what was refused is done now"
    assert len(opened(body(confirmed)).namelist()) > 10
    assert "Download the export" in client.get(path).content.decode()
    archive = opened(body(client.post(path)))
    assert len([n for n in archive.namelist() if n.endswith(".png")]) == 3


def test_the_operators_command_writes_the_same(
    full: Workspace, organization_a: Organization, tmp_path: Path, output: Output
) -> None:
    target = tmp_path / "export.zip"
    call_command("export_organization", organization_a.pk, str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    archive = opened(target.read_bytes())
    assert f"{folder_of(full)}/pictures/{output.pk}.png" in archive.namelist()
    with system_scope():
        assert AuditEvent.objects.get(action="organization.exported").actor_id == "system"
    assert [path.name for path in tmp_path.glob("export*")] == ["export.zip"]
    with pytest.raises(CommandError, match="exists already"):
        call_command("export_organization", organization_a.pk, str(target))
    with pytest.raises(CommandError, match="no organization"):
        call_command("export_organization", "org_x", str(tmp_path / "other.zip"))


def test_the_command_says_when_something_is_missing(
    full: Workspace, organization_a: Organization, tmp_path: Path, output: Output
) -> None:
    storage.delete(output.picture.storage_key)
    target = tmp_path / "export.zip"
    with pytest.raises(CommandError, match="1 things are missing") as caught:
        call_command("export_organization", organization_a.pk, str(target))
    assert caught.value.returncode == 3
    assert output.pk in errors(opened(target.read_bytes()))


def test_rows_are_read_page_by_page_and_none_twice(
    full: Workspace, alice_in_a: Actor, monkeypatch: pytest.MonkeyPatch, model_version: ModelVersion
) -> None:
    for _ in range(4):
        factories.make_job(alice_in_a, full)
    monkeypatch.setattr(records, "PAGE", 2)
    archive = take(alice_in_a)
    jobs = lines(archive, f"{folder_of(full)}/jobs.ndjson")
    assert len(jobs) == len({job["id"] for job in jobs}) == 6


def test_what_was_written_is_forgotten() -> None:
    """Ten thousand pictures of a megabyte each would be ten gigabytes; here it is 64 of them."""
    picture = os.urandom(1 << 20)

    def write(count: int) -> int:
        archive = Archive()

        def everything() -> Iterator[bytes]:
            for number in range(count):
                yield from archive.add(f"{number}.png", iter([picture]), is_text=False)
            yield from archive.finish("SHA256SUMS")

        tracemalloc.start()
        size = sum(len(piece) for piece in gather(everything()))
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size > count << 20
        return peak

    assert write(64) < write(2) + (2 << 20)


def test_more_than_65535_files_need_zip64_and_have_it() -> None:
    archive = Archive()

    def everything() -> Iterator[bytes]:
        for number in range(66_000):
            yield from archive.add(f"{number}", [b""], is_text=False)
        yield from archive.finish("SHA256SUMS")

    assert len(zipfile.ZipFile(io.BytesIO(b"".join(everything()))).namelist()) == 66_001
