"""The store on S3: the same calls as with a folder, and addresses that need no credentials."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import boto3
import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.test.utils import override_settings
from moto.server import ThreadedMotoServer

from accounts.actors import Actor
from gpuagent.protocol.messages import Assignment
from gpuagent.protocol.taxonomy import FileKind
from gpuagent.protocol.wire import from_wire
from jobs.models import Output
from jobs.services.claiming import claim_attempt
from jobs.services.reporting import commit_output
from studio.core import storage
from studio.core.scoping import system_scope
from tests import factories
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
BUCKET = "pictures"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 of our own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, store_folder: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`STORAGE_URL` names an empty bucket; credentials come from the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "studio")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a secret")
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    options = f"endpoint={quote(endpoint)}&region=us-east-1&addressing=path"
    with override_settings(STORAGE_URL=f"s3://{BUCKET}?{options}"):
        storage.store.cache_clear()
        yield endpoint
    bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1").Bucket(BUCKET)
    bucket.objects.all().delete()
    bucket.delete()
    storage.store.cache_clear()


def test_what_is_put_can_be_opened_sized_and_deleted(s3: str) -> None:
    assert storage.upload_url("probe") is not None
    assert not storage.exists("a/b.sealed")

    storage.put("a/b.sealed", b"first")
    storage.put("a/b.sealed", b"second")

    assert storage.exists("a/b.sealed")
    assert storage.size("a/b.sealed") == 6
    with storage.open_object("a/b.sealed") as file:
        file.seek(2)
        assert file.read() == b"cond"
    storage.delete("a/b.sealed")
    storage.delete("a/b.sealed")
    assert not storage.exists("a/b.sealed")


def test_a_missing_object_is_a_file_not_found(s3: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.open_object("nothing")


def test_presigned_addresses_work_without_credentials(s3: str) -> None:
    put_url, get_url = storage.upload_url("x/y.sealed"), storage.download_url("x/y.sealed")
    assert put_url is not None
    assert get_url is not None
    assert "not a secret" not in put_url + get_url

    assert httpx.put(put_url, content=b"sealed bytes").status_code == 200
    assert httpx.get(get_url).content == b"sealed bytes"
    assert storage.size("x/y.sealed") == 12


def test_a_picture_goes_through_presigned_addresses_from_claim_to_commit(
    s3: str, bob_in_a: Actor, workspace: Workspace, tmp_path: object
) -> None:
    # Given: the model and the starting picture lie in the bucket, too.
    version = factories.make_model_version()
    image = factories.make_input(workspace)
    agent = factories.make_agent("remote", is_local=False)
    job = factories.make_job(bob_in_a, workspace, image=image.sha256)
    attempt = factories.make_attempt(job, agent.row)

    # When: the agent claims, fetches and puts over HTTP alone.
    with system_scope():
        claimed = claim_attempt(agent.row, attempt.pk, fence=1, boot_id="boot-1")
    assignment = from_wire(Assignment, claimed.to_wire())
    for file in assignment.model.files:
        assert len(httpx.get(file.url).content) == file.size_bytes
    assert httpx.get(assignment.inputs[0].url).content.startswith(b"STU1")
    contents = {FileKind.PICTURE: factories.make_png(), FileKind.THUMBNAIL: factories.make_webp()}
    files = []
    for target in assignment.targets:
        stored = factories.put_sealed(target.artifact_id, contents[target.kind])
        key = f"{workspace.organization_id}/{workspace.pk}/{target.artifact_id}.sealed"
        sealed = storage.open_object(key).read()
        storage.delete(key)
        assert httpx.put(target.url, content=sealed).status_code == 200
        files.append(stored)
    with system_scope():
        commit = factories.make_commit(attempt, tuple(files))
        assert commit_output(agent.row, attempt.pk, commit)
        output = Output.objects.select_related("picture", "workspace").get(job=job)

    # Then: the picture can be looked at.
    assert version.digest == assignment.model.digest
    client = Client()
    client.force_login(job.created_by)
    response = client.get(f"/w/{workspace.pk}/outputs/{output.pk}/download")
    assert response.content == factories.make_png()


def test_another_kind_of_address_is_refused_by_name() -> None:
    with override_settings(STORAGE_URL="ftp://x"):
        storage.store.cache_clear()
        with pytest.raises(ImproperlyConfigured, match=r"ftp://…; it must be file://"):
            storage.store()
    storage.store.cache_clear()
