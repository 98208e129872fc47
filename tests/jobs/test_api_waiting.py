"""Waiting for a job over the API, and following its events."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import LazySettings
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Organization, User
from jobs import waiting
from jobs.models import Job, Output
from studio.core.scoping import system_scope
from studio.core.stopping import is_stopping
from tests import factories
from tests.factories import PROMPT, AgentHandle
from tests.jobs.calls import post
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


def test_waiting_in_vain_answers_202(bob_api: Client, workspace: Workspace) -> None:
    response = post(bob_api, "/api/v1/jobs", {"prompt": "x"}, Prefer="wait=0")

    assert (response.status_code, response["Preference-Applied"]) == (202, "wait=0")
    assert response.json()["status"] == "queued"


@pytest.mark.django_db(transaction=True)
def test_a_waiting_request_answers_as_soon_as_the_job_ends(
    bob_api: Client, workspace: Workspace, agent: AgentHandle
) -> None:
    def make_picture() -> None:
        try:
            with system_scope():
                while (job := Job.objects.select_related("workspace").first()) is None:
                    connection.close()
            factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
        finally:
            connection.close()

    worker = threading.Thread(target=make_picture)
    worker.start()
    response = post(bob_api, "/api/v1/jobs", {"prompt": PROMPT}, Prefer="respond-async, wait=30")
    worker.join(timeout=20)

    body = response.json()
    assert (response.status_code, body["status"]) == (201, "succeeded")
    assert len(body["outputs"]) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_events_tell_every_status_and_then_end(
    bob: User, bob_in_a: Actor, organization_a: Organization, workspace: Workspace
) -> None:
    prepare = database_sync_to_async(
        lambda: (
            factories.make_token(bob, organization_a),
            factories.make_job(bob_in_a, workspace),
            factories.make_agent("streamer"),
        )
    )
    token, job, agent = await prepare()
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}

    response = await AsyncClient().get(f"/api/v1/jobs/{job.pk}/events", headers=headers)
    assert isinstance(response, StreamingHttpResponse)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")

    events: list[dict[str, Any]] = []
    finish = database_sync_to_async(
        lambda: factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    )
    async with asyncio.timeout(20):
        async for chunk in response:
            name, data = bytes(chunk).decode().strip().split("\n")
            assert name == "event: status"
            events.append(json.loads(data.removeprefix("data: ")))
            if len(events) == 1:
                await finish()

    assert events[0] == {"id": job.pk, "status": "queued", "outputs": 0}
    assert events[-1] == {"id": job.pk, "status": "succeeded", "outputs": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["revoked", "expired", "shut out", "deleted"])
async def test_events_end_for_who_may_not_see_the_job_any_more(
    bob_in_a: Actor,
    bob: User,
    organization_a: Organization,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    monkeypatch.setattr(waiting, "ASK_SECONDS", 0.0)
    prepare = database_sync_to_async(
        lambda: (
            factories.make_token(bob, organization_a),
            factories.make_job(bob_in_a, workspace),
        )
    )
    token, job = await prepare()
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    response = await AsyncClient().get(f"/api/v1/jobs/{job.pk}/events", headers=headers)
    assert isinstance(response, StreamingHttpResponse)

    def shut_out() -> None:
        now = timezone.now()
        with system_scope():
            if end == "revoked":
                ApiToken.objects.update(revoked_at=now)
            elif end == "expired":
                ApiToken.objects.update(expires_at=now)
            elif end == "deleted":
                Workspace.objects.update(deleted_at=now)
            else:
                Workspace.objects.update(is_restricted=True)

    chunks = []
    async with asyncio.timeout(15):
        async for chunk in response:
            chunks.append(bytes(chunk))
            await database_sync_to_async(shut_out)()
    assert len(chunks) == 1
    assert b"queued" in chunks[0]


@pytest.fixture
def stop_soon() -> Iterator[None]:
    """The web process is asked to stop half a second from now."""
    timer = threading.Timer(0.5, is_stopping.set)
    timer.start()
    yield
    timer.join()
    is_stopping.clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("stop_soon")
def test_a_waiting_request_is_answered_when_the_process_stops(
    bob_api: Client, workspace: Workspace
) -> None:
    began = time.monotonic()
    response = post(bob_api, "/api/v1/jobs", {"prompt": "x"}, Prefer="wait=30")

    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert time.monotonic() - began < 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
@pytest.mark.usefixtures("stop_soon")
async def test_events_end_when_the_process_stops(
    bob_in_a: Actor, bob: User, organization_a: Organization, workspace: Workspace
) -> None:
    prepare = database_sync_to_async(
        lambda: (
            factories.make_token(bob, organization_a),
            factories.make_job(bob_in_a, workspace),
        )
    )
    token, job = await prepare()
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    response = await AsyncClient().get(f"/api/v1/jobs/{job.pk}/events", headers=headers)
    assert isinstance(response, StreamingHttpResponse)

    async with asyncio.timeout(10):
        chunks = [bytes(chunk) async for chunk in response]
    assert [chunk.split(b"\n")[0] for chunk in chunks] == [b"event: status"]


def test_events_of_a_foreign_job_are_a_404(
    api_of: Callable[[User, Organization], Client],
    charlie: User,
    organization_b: Organization,
    output: Output,
    settings: LazySettings,
) -> None:
    api = api_of(charlie, organization_b)
    response = api.get(
        f"/api/v1/jobs/{output.job_id}/events", headers={"Accept": "text/event-stream"}
    )
    assert response.status_code == 404
