"""`/agent/v1/`: what an agent may ask for, and what it is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import Client

from accounts.actors import Actor
from gpuagent.protocol.messages import Assignment
from gpuagent.protocol.sealing import Context, open_sealed, seal
from gpuagent.protocol.wire import from_wire
from jobs.models import Agent, Job, JobAttempt, Output
from library.models import ModelFile, ModelVersion
from studio.core import storage
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import Answer
from tests.factories import PROMPT, AgentHandle
from workspaces.models import Artifact, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


@pytest.fixture
def remote() -> AgentHandle:
    """An agent on another machine: no folder is shared with it."""
    return factories.make_agent("remote", is_local=False)


@pytest.fixture
def remote_client(remote: AgentHandle) -> Client:
    return Client(headers={"Authorization": remote.header})


@pytest.fixture
def job(bob_in_a: Actor, workspace: Workspace) -> Job:
    return factories.make_job(bob_in_a, workspace)


def send(client: Client, path: str, body: object) -> Answer:
    return client.post(f"/agent/v1/{path}", json.dumps(body), "application/json")


def streamed(response: HttpResponseBase) -> bytes:
    assert isinstance(response, StreamingHttpResponse)

    async def read() -> bytes:
        return b"".join([piece async for piece in response])

    return async_to_sync(read)()


def claim_of(client: Client, attempt: JobAttempt) -> Answer:
    body = {"fence": attempt.fence, "boot_id": attempt.boot_id}
    return send(client, f"attempts/{attempt.pk}/claim", body)


CALLS: list[tuple[str, str]] = [
    ("POST", "register"),
    ("POST", "queue"),
    ("POST", "heartbeat"),
    ("POST", "attempts/att_x/claim"),
    ("POST", "attempts/att_x/outputs"),
    ("POST", "attempts/att_x/finish"),
    ("PUT", "store/art_x"),
    ("GET", "attempts/att_x/inputs/art_x"),
    ("GET", f"models/{'0' * 64}"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("header", ["", "Bearer sta_wrong", "Bearer stu_wrong", "Basic sta"])
def test_without_an_agents_token_every_call_is_a_401(method: str, path: str, header: str) -> None:
    client = Client(headers={"Authorization": header} if header else {})
    response = client.generic(method, f"/agent/v1/{path}")
    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"


def test_a_users_token_does_not_open_the_agents_api(bob_api: Client) -> None:
    assert send(bob_api, "heartbeat", {}).status_code == 401


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "{}", '{"boot_id": 1}', '{"boot_id": "b", "more": 1}', "[" * 100_000]
)
def test_a_malformed_message_is_a_422(agent_client: Client, body: str) -> None:
    response = agent_client.post("/agent/v1/register", body, "application/json")
    assert (response.status_code, response.json()["code"]) == (422, "message.invalid")


def test_registering_notes_what_the_agent_is(agent_client: Client, agent: AgentHandle) -> None:
    body = {"boot_id": "boot-9", "fingerprint": {"torch": "2"}, "device": "cuda", "memory_bytes": 5}

    assert send(agent_client, "register", body).json() == {"agent_id": agent.row.pk}

    row = Agent.objects.get(pk=agent.row.pk)
    assert (row.boot_id, row.device, row.memory_bytes, row.is_ready) == ("boot-9", "cuda", 5, False)


def test_a_heartbeat_of_an_unknown_boot_is_told_to_register(agent_client: Client) -> None:
    body = {
        "boot_id": "boot-0",
        "ready": True,
        "warm": [],
        "attempts": [{"attempt_id": "att_x", "fence": 1}],
    }
    reply = send(agent_client, "heartbeat", body).json()
    assert (reply["known"], reply["lost"]) == (False, ["att_x"])


def test_a_cold_agent_is_told_what_to_make_warm(
    agent_client: Client, model_version: ModelVersion
) -> None:
    body: dict[str, Any] = {"boot_id": "boot-1", "ready": False, "warm": [], "attempts": []}

    (preload,) = send(agent_client, "heartbeat", body).json()["preload"]
    assert preload["digest"] == model_version.digest

    body.update(ready=True, warm=[model_version.digest])
    assert send(agent_client, "heartbeat", body).json()["preload"] == []
    assert Agent.objects.get().warm == [model_version.digest]


def test_a_claim_hands_out_all_that_one_attempt_needs(
    agent_client: Client, agent: AgentHandle, job: Job
) -> None:
    attempt = factories.make_attempt(job, agent.row)

    response = claim_of(agent_client, attempt)

    assignment = from_wire(Assignment, response.json())
    assert response["Cache-Control"] == "no-store"
    assert assignment.recipe["prompt"] == PROMPT
    assert {target.kind for target in assignment.targets} == {"picture", "thumbnail"}
    assert all(target.url.startswith("file://") for target in assignment.targets)


def test_another_agents_attempt_answers_like_one_that_is_not_there(
    remote_client: Client, agent: AgentHandle, job: Job
) -> None:
    attempt = factories.make_attempt(job, agent.row)

    theirs = claim_of(remote_client, attempt)
    body = {"fence": 1, "boot_id": "boot-1"}
    nobodys = send(remote_client, "attempts/att_none/claim", body)

    assert (theirs.status_code, theirs.content) == (409, nobodys.content)


def test_the_round_trip_of_a_remote_agent_goes_over_http_alone(
    remote_client: Client, remote: AgentHandle, job: Job
) -> None:
    attempt = factories.make_attempt(job, remote.row)
    assignment = from_wire(Assignment, claim_of(remote_client, attempt).json())

    # The model's files come over HTTP.
    for file in assignment.model.files:
        answer = remote_client.get(_path(file.url))
        assert len(streamed(answer)) == file.size_bytes

    # Sealed files go to the addresses that the claim named.
    contents = {"picture": factories.make_png(), "thumbnail": factories.make_webp()}
    files = []
    for target in assignment.targets:
        stored = factories.put_sealed(target.artifact_id, contents[target.kind.value])
        with system_scope():
            key = Artifact.objects.get(pk=target.artifact_id).storage_key
        sealed = storage.open_object(key).read()
        storage.delete(key)
        answer = remote_client.put(_path(target.url), sealed, "application/octet-stream")
        assert answer.status_code == 204
        files.append(stored)

    commit = factories.make_commit(attempt, tuple(files)).to_wire()
    first = send(remote_client, f"attempts/{attempt.pk}/outputs", commit)
    again = send(remote_client, f"attempts/{attempt.pk}/outputs", commit)
    assert (first.json(), again.json()) == ({"is_new": True}, {"is_new": False})

    finish = {"fence": attempt.fence, "status": "succeeded", "timings": {"total": 1}}
    assert send(remote_client, f"attempts/{attempt.pk}/finish", finish).status_code == 200
    assert send(remote_client, f"attempts/{attempt.pk}/finish", finish).status_code == 409
    with system_scope():
        assert Output.objects.filter(job=job).count() == 1


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def test_a_stale_fence_is_a_409_everywhere(
    agent_client: Client, agent: AgentHandle, job: Job
) -> None:
    attempt = factories.make_attempt(job, agent.row)
    files = factories.make_stored_pair(agent.row, attempt)
    commit = {**factories.make_commit(attempt, files).to_wire(), "fence": 0}

    statuses = [
        send(agent_client, f"attempts/{attempt.pk}/outputs", commit).status_code,
        send(
            agent_client, f"attempts/{attempt.pk}/finish", {"fence": 0, "status": "failed"}
        ).status_code,
    ]
    assert statuses == [409, 409]


def test_bytes_that_nobody_expects_are_refused(
    agent_client: Client, output: Output, agent: AgentHandle, job: Job
) -> None:
    sealed = seal(b"x", key=b"0" * 32, context=Context(organization="", object_id="", kind=""))

    stored = agent_client.put(f"/agent/v1/store/{output.picture_id}", sealed, "application/x")
    unknown = agent_client.put("/agent/v1/store/art_none", sealed, "application/x")

    assert (stored.status_code, unknown.status_code) == (409, 409)
    assert stored.content == unknown.content
    assert storage.size(output.picture.storage_key) == output.picture.sealed_bytes


@pytest.mark.parametrize("length", ["", "0", "minus", "-5", "9" * 30])
def test_a_put_without_a_sound_length_is_a_422(
    agent_client: Client, agent: AgentHandle, job: Job, length: str
) -> None:
    assignment = claim_of(agent_client, factories.make_attempt(job, agent.row)).json()
    target = assignment["targets"][0]["artifact_id"]

    answer = agent_client.put(f"/agent/v1/store/{target}", b"", headers={"Content-Length": length})

    assert answer.status_code == 422


def test_the_starting_picture_is_handed_to_its_holder_only(
    remote_client: Client,
    remote: AgentHandle,
    agent_client: Client,
    bob_in_a: Actor,
    workspace: Workspace,
) -> None:
    image = factories.make_input(workspace)
    job = factories.make_job(bob_in_a, workspace, image=image.sha256)
    attempt = factories.make_attempt(job, remote.row)
    assignment = from_wire(Assignment, claim_of(remote_client, attempt).json())
    (given,) = assignment.inputs
    address = _path(given.url)

    sealed = streamed(remote_client.get(address))

    context = Context(organization=workspace.organization_id, object_id=image.pk, kind="input")
    assert factories.make_png() == open_sealed(
        sealed, key=base64.b64decode(given.data_key), context=context
    )
    assert agent_client.get(address).status_code == 404
    other = address.replace(image.pk, "art_none")
    assert remote_client.get(other).status_code == 404


def test_model_files_come_by_their_hash(agent_client: Client, model_version: ModelVersion) -> None:
    with system_scope():
        file = ModelFile.objects.filter(version=model_version).order_by("path").first()
    assert file is not None

    answer = agent_client.get(f"/agent/v1/models/{file.sha256}")

    assert len(streamed(answer)) == file.size_bytes
    assert agent_client.get(f"/agent/v1/models/{'f' * 64}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=2-5", 2, 6), ("bytes=1-999999999", 1, None)],
)
def test_model_files_come_in_parts(
    agent_client: Client, model_version: ModelVersion, asked: str, start: int, end: int | None
) -> None:
    with system_scope():
        file = ModelFile.objects.filter(version=model_version).order_by("-size_bytes").first()
    assert file is not None
    path = f"/agent/v1/models/{file.sha256}"
    whole = streamed(agent_client.get(path))

    part = agent_client.get(path, headers={"Range": asked})

    assert part.status_code == 206
    assert streamed(part) == whole[start:end]
    last = (end or len(whole)) - 1
    assert part["Content-Range"] == f"bytes {start}-{last}/{len(whole)}"
    assert part["Content-Length"] == str(last + 1 - start)


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-5", "bytes=0-1,3-4", "lines=1-2", "x"])
def test_range_that_is_none_gives_the_whole_file(
    agent_client: Client, model_version: ModelVersion, asked: str
) -> None:
    with system_scope():
        file = ModelFile.objects.filter(version=model_version).order_by("-size_bytes").first()
    assert file is not None
    path = f"/agent/v1/models/{file.sha256}"
    answer = agent_client.get(path, headers={"Range": asked})
    assert (answer.status_code, len(streamed(answer))) == (200, file.size_bytes)
