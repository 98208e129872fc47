"""Canaries: what an artist writes, tokens and keys appear nowhere but sealed, or where they must.

One picture is made by the page and one by the API, from the form to the finish, with everything
recorded that leaves the database: all log lines, all of Redis, every error's body.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from redis import Redis
from typing_extensions import override

from accounts.models import Organization, User
from gpuagent.protocol.messages import Assignment
from gpuagent.protocol.wire import from_wire
from jobs.dispatcher import Dispatcher
from jobs.models import Job, JobAttempt, Output
from jobs.progress import put_preview, put_progress
from studio.core import storage
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import Answer
from tests.factories import AgentHandle
from tests.looking import all_columns, all_of_redis
from workspaces.models import Workspace

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("model_version"),
]
PROMPT = "CANARYPROMPT7Q"
NEGATIVE = "CANARYNEGATIVE7Q"
PROJECT = "CANARYPROJECT7Q"
TITLE = "CANARYTITLE7Q"
WATERMARK = "CANARYWATERMARK7Q"
PASSWORD = "CANARYPASSWORD7Q"


class Everything(logging.Handler):
    """Keeps each record whole: message, arguments, trace, extras."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.text = ""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()} {record.__dict__!r} {self.format(record)}\n"


@pytest.fixture
def logs() -> Iterator[Everything]:
    """All that any logger says, down to DEBUG."""
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    named = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    levels = [logger.level for logger in named]
    for logger in named:
        logger.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
    for logger, before in zip(named, levels, strict=True):
        logger.setLevel(before)


def make(agent: AgentHandle, agent_client: Client, color: str) -> tuple[Output, Assignment]:
    """Dispatch the one queued job, and do the agent's work over its HTTP API."""

    def send(path: str, body: object) -> Answer:
        address = f"/agent/v1/attempts/{attempt.pk}/{path}"
        response = agent_client.post(address, json.dumps(body), "application/json")
        assert response.status_code == 200, response.content
        return response

    with system_scope():
        assert Dispatcher().run_round() == 1
        attempt = JobAttempt.objects.order_by("-id")[0]
    claim = send("claim", {"fence": attempt.fence, "boot_id": attempt.boot_id})
    assignment = from_wire(Assignment, claim.json())
    contents = {"picture": factories.make_png(color), "thumbnail": factories.make_webp(color)}
    files = tuple(
        factories.put_sealed(target.artifact_id, contents[target.kind.value])
        for target in assignment.targets
    )
    send("outputs", factories.make_commit(attempt, files).to_wire())
    send("finish", {"fence": attempt.fence, "status": "succeeded", "timings": {"total": 1}})
    with system_scope():
        return Output.objects.select_related("picture", "thumbnail").get(
            attempt=attempt
        ), assignment


def test_the_canaries_are_nowhere(
    bob: User,
    organization_a: Organization,
    workspace: Workspace,
    agent: AgentHandle,
    agent_client: Client,
    client_of: Callable[[User], Client],
    redis: Redis,
    logs: Everything,
) -> None:
    # Given: a picture by the page and one by the API, each made by the agent.
    token = factories.make_token(bob, organization_a)
    page, api = client_of(bob), Client(headers={"Authorization": f"Bearer {token}"})
    form = {"prompt": PROMPT, "negative_prompt": NEGATIVE}
    assert page.post(f"/w/{workspace.pk}/jobs", form).status_code in (201, 302)
    first, given = make(agent, agent_client, "red")
    assert api.post("/api/v1/jobs", form, "application/json").status_code == 201
    second, also_given = make(agent, agent_client, "blue")
    assert (given.recipe["prompt"], also_given.recipe["prompt"]) == (PROMPT, PROMPT)

    # And: a project with a link to it, which somebody opens; a search.
    room = f"/w/{workspace.pk}"
    project = api.post("/api/v1/projects", {"name": PROJECT}, "application/json").json()["id"]
    placing = {"add": [first.pk, second.pk]}
    api.post(f"/api/v1/projects/{project}/outputs", placing, "application/json")
    terms = {"title": TITLE, "password": PASSWORD}
    terms |= {"watermark_text": WATERMARK}
    body = {"project": project, "has_watermark": True, **terms}
    address = api.post("/api/v1/shares", body, "application/json").json()["url"]
    path = "/s/" + address.rpartition("/s/")[2]
    visitor = Client()
    assert visitor.post(path, {"password": PASSWORD}).status_code == 302
    assert TITLE in visitor.get(path).content.decode()
    assert visitor.get(f"{path}/pictures/{first.pk}").status_code == 200
    assert first.pk in page.post(f"{room}/gallery", {"q": PROMPT}).content.decode()

    # And: requests that go wrong, with the canary in them.
    problems = [
        api.post("/api/v1/jobs", {"prompt": PROMPT, "width": 3}, "application/json"),
        api.post("/api/v1/jobs", {"prompt": PROMPT * 1_000}, "application/json"),
        api.post("/api/v1/jobs", f'{{"prompt": "{PROMPT}"', "application/json"),
        api.post("/api/v1/jobs", {"prompt": f"{PROMPT}\x00"}, "application/json"),
        page.post(f"/w/{workspace.pk}/jobs", {"prompt": PROMPT, "width": "3"}),
        page.post(f"{room}/projects/{project}x", {"name": PROJECT}),
        api.post("/api/v1/shares", {**terms, "days": 0}, "application/json"),
        visitor.get(f"{path}/pictures/{project}"),
        agent_client.post("/agent/v1/register", f'{{"x": "{PROMPT}"}}', "application/json"),
    ]

    # Then: the canaries are in no log line, nowhere in Redis, in no column and no problem.
    keys = {
        key
        for assignment in (given, also_given)
        for key in (assignment.preview_key, *(t.data_key for t in assignment.targets))
    }
    secrets = {PROMPT, NEGATIVE, PROJECT, TITLE, WATERMARK, PASSWORD, token, agent.token, *keys}
    secrets.add(path.removeprefix("/s/"))
    secrets |= {base64.b64decode(key).hex() for key in keys}
    elsewhere = {
        "logs": logs.text,
        "redis": all_of_redis(redis),
        "columns": all_columns(),
        "problems": "\n".join(answer.content.decode() for answer in problems),
    }
    assert all(400 <= answer.status_code < 500 for answer in problems)
    for place, text in elsewhere.items():
        for secret in secrets:
            assert secret not in text, f"{secret} is in the {place}"
    assert first.pk in elsewhere["columns"]
    assert second.pk in elsewhere["columns"]

    # And: the store holds sealed bytes alone.
    for artifact in (first.picture, first.thumbnail, second.picture, second.thumbnail):
        sealed = storage.open_object(artifact.storage_key).read()
        assert sealed.startswith(b"STU1")
        assert not any(mark in sealed for mark in (b"PNG", b"WEBP", PROMPT.encode()))


def test_messages_through_redis_carry_ids_only(
    bob: User,
    organization_a: Organization,
    workspace: Workspace,
    agent: AgentHandle,
    redis: Redis,
) -> None:
    factories.make_job(factories.make_actor(bob, organization_a), workspace, prompt=PROMPT)
    with system_scope():
        Dispatcher().run_round()
        attempt = JobAttempt.objects.get()

    (raw,) = redis.hgetall(f"{agent.row.namespace}:gpu.msgs").values()
    message = json.loads(raw)

    assert (message["actor_name"], message["args"]) == ("run_attempt", [attempt.pk, attempt.fence])
    assert message["kwargs"] == {}


@pytest.mark.asyncio
async def test_progress_in_redis_ends_by_itself(redis: Redis) -> None:
    await put_progress("job_x", {"step": 1, "attempt_id": "att_x"})
    await put_preview("job_x", attempt_id="att_x", index=0, envelope=b"sealed")
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter("*"))


def test_rows_show_ids_and_nothing_else_when_they_are_logged(
    bob: User, organization_a: Organization, workspace: Workspace
) -> None:
    job = factories.make_job(factories.make_actor(bob, organization_a), workspace, prompt=PROMPT)
    assert PROMPT not in f"{job!r} {job} {job.__dict__!r}"
    with system_scope():
        assert PROMPT not in repr(list(Job.objects.values()))
