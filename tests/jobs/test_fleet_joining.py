"""Join tokens: a machine becomes an agent with one, as often and as long as it says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization, User
from gpuagent.protocol.messages import Join, Joined, Register
from gpuagent.protocol.wire import from_wire
from jobs.models import Agent, FleetEvent, JoinToken
from jobs.services.fleet import find_agent, register_agent
from jobs.services.fleet_agents import remove_agent
from jobs.services.fleet_joining import create_join_token, join, join_command, revoke_join_token
from studio.core.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StudioError,
    UnauthenticatedError,
)
from studio.core.scoping import organization_scope, system_scope
from tests.jobs.calls import post, problem
from tests.looking import all_columns

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def make(operator: Actor, **terms: object) -> tuple[JoinToken, str]:
    with organization_scope(operator.organization_id):
        return create_join_token(actor=operator, **terms)  # type: ignore[arg-type]  # the fields of a token


def test_a_machine_joins_and_is_an_agent(operator: Actor) -> None:
    token, plain = make(operator, labels=["Large", " eu-west "], uses=2)
    client = Client(headers={"Authorization": f"Bearer {plain}"})

    answer = post(client, "/agent/v1/join", {"name": "gpu-7", "device": "H200", "labels": ["nvme"]})

    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    joined = from_wire(Joined, answer.json())
    agent = find_agent(joined.token)
    assert agent is not None
    assert (agent.pk, agent.name, agent.namespace) == (
        joined.agent_id,
        "gpu-7",
        joined.namespace,
    )
    assert agent.labels == ["eu-west", "large", "nvme"]
    assert not agent.is_local
    assert joined.redis_url is not None
    assert urlsplit(joined.redis_url).username == agent.pk
    token.refresh_from_db()
    assert token.uses_left == 1
    event = FleetEvent.objects.get(agent=agent)
    assert (event.code, event.data) == ("agent.joined", {"join_token": token.pk})
    with system_scope():
        register_agent(
            agent,
            Register(
                boot_id="b",
                fingerprint={},
                device="H200",
                memory_bytes=1,
                gpu_class="h200",
                labels=("Own", "not a label"),
            ),
        )
    assert agent.labels == ["eu-west", "large", "nvme", "own"]
    assert agent.gpu_class == "h200"


def test_neither_text_lies_anywhere(operator: Actor) -> None:
    _token, plain = make(operator)
    joined = join(plain, Join())
    text = all_columns()
    assert plain not in text
    assert joined.token not in text


def test_two_of_a_name_are_told_apart_and_a_removed_ones_name_is_free(operator: Actor) -> None:
    _token, plain = make(operator, uses=4)
    names = [join(plain, Join(name="gpu")).name for _ in range(2)]
    assert names == ["gpu", "gpu-2"]
    with organization_scope(operator.organization_id):
        remove_agent(actor=operator, agent_id=Agent.objects.get(name="gpu").pk)
    assert join(plain, Join(name="gpu")).name == "gpu"
    assert join(plain, Join(name="\n \x00")).name == "agent"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"uses_left": 0}, "was used up"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired on"),
        ({"revoked_at": timezone.now()}, "was revoked"),
    ],
)
def test_a_token_that_has_ended_says_how(
    operator: Actor, change: dict[str, object], said: str
) -> None:
    token, plain = make(operator)
    JoinToken.objects.filter(pk=token.pk).update(**change)
    client = Client(headers={"Authorization": f"Bearer {plain}"})

    answer = post(client, "/agent/v1/join")

    assert answer.status_code == 403
    body = problem(answer)
    assert body["code"] == "join.refused"
    assert said in body["detail"]
    assert not Agent.objects.exists()


@pytest.mark.parametrize("header", ["", "Bearer stj_x", "Bearer sta_x", "Basic eA==", "Bearer"])
def test_nobody_joins_without_one(header: str) -> None:
    client = Client(headers={"Authorization": header} if header else {})
    answer = post(client, "/agent/v1/join")
    assert answer.status_code == 401
    assert not Agent.objects.exists()


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"name": 5}', b'{"surprise": 1}', b"[" * 9_999])
def test_what_is_no_message_uses_nothing_up(operator: Actor, body: bytes) -> None:
    token, plain = make(operator)
    client = Client(headers={"Authorization": f"Bearer {plain}"})
    answer = client.post("/agent/v1/join", body, "application/json")
    assert answer.status_code == 422
    token.refresh_from_db()
    assert token.uses_left == 1


@pytest.mark.django_db(transaction=True)
def test_the_last_use_is_had_by_one(operator: Actor) -> None:
    _token, plain = make(operator, uses=1)

    def try_it(number: int) -> str:
        try:
            return join(plain, Join(name=f"gpu-{number}")).name
        except StudioError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(try_it, range(6)))
    assert sorted(results)[1:] == ["join.refused"] * 5
    assert Agent.objects.count() == 1


def test_revoking_ends_it_and_leaves_who_has_joined(operator: Actor) -> None:
    token, plain = make(operator, uses=5)
    joined = join(plain, Join())
    with organization_scope(operator.organization_id):
        revoke_join_token(actor=operator, join_id=token.pk)
        revoke_join_token(actor=operator, join_id=token.pk)
        events = AuditEvent.objects.filter(object_id=token.pk).values_list("action", flat=True)
        assert list(events.order_by("id")) == ["join_token.created", "join_token.revoked"]
    assert find_agent(joined.token) is not None
    with pytest.raises(StudioError, match=r"join\.refused"):
        join(plain, Join())


def test_what_cannot_be_is_named(operator: Actor) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make(operator, labels=["no spaces"], uses=0, hours=10_000)
    assert [p.field for p in caught.value.problems] == ["labels", "uses", "hours"]
    assert not JoinToken.objects.exists()


def test_who_is_no_operator_makes_and_revokes_none(alice_in_a: Actor, operator: Actor) -> None:
    token, _plain = make(operator)
    with organization_scope(alice_in_a.organization_id):
        with pytest.raises(ForbiddenError):
            create_join_token(actor=alice_in_a)
        with pytest.raises(ForbiddenError):
            revoke_join_token(actor=alice_in_a, join_id=token.pk)
        with pytest.raises(NotFoundError):
            revoke_join_token(actor=operator, join_id="jot_x")


def test_the_command_names_the_studio(operator: Actor) -> None:
    _token, plain = make(operator)
    command = join_command(plain)
    assert command == f"python -m gpuagent join --url {settings.STUDIO_URL} --token {plain}"


def test_a_join_token_opens_nothing_else(
    operator: Actor,
    alice: User,
    organization_a: Organization,
    api_of: Callable[[User, Organization], Client],
) -> None:
    _token, plain = make(operator)
    client = Client(headers={"Authorization": f"Bearer {plain}"})
    assert post(client, "/agent/v1/heartbeat").status_code == 401
    assert client.get("/api/v1/me").status_code == 401
    with pytest.raises(UnauthenticatedError):
        join("stj_unknown", Join())
    assert post(api_of(alice, organization_a), "/agent/v1/join").status_code == 401
