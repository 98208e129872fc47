"""How many requests the API takes, from whom, and what is said to one too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings
from redis import Redis
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from accounts.actors import Actor
from accounts.models import Organization, User
from accounts.roles import Role
from accounts.throttling import Allowance, _seconds_to_wait, count_request, of_sender
from launcher.ports import free_port
from studio import env
from tests.factories import PASSWORD
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
CALL = "/api/v1/samplers"
LOGIN = "/accounts/login/"


@pytest.fixture
def three(settings: LazySettings) -> None:
    """Three requests an hour, so that no test meets the edge of a window twice."""
    settings.API_RATE = settings.API_RATE_ANONYMOUS = (3, 3_600)


@pytest.fixture
def without_redis() -> Iterator[None]:
    own = django_settings.CACHES["default"]
    away = {"default": {**own, "LOCATION": [f"redis://127.0.0.1:{free_port()}/0"]}}
    with override_settings(CACHES=away):
        yield


def statuses(client: Client, *, times: int = 4, **headers: str) -> list[int]:
    return [client.get(CALL, headers=headers).status_code for _ in range(times)]


@pytest.mark.usefixtures("three")
def test_one_request_too_many_is_a_problem_that_says_when_to_come_again(bob_api: Client) -> None:
    assert statuses(bob_api) == [200, 200, 200, 429]

    answer = bob_api.get(CALL)
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "throttled"
    seconds = int(answer["Retry-After"])
    assert 0 < seconds <= 2 * 3_600
    assert (
        f"More than 3 requests came within 3600 seconds from this token. Try again in {seconds}"
        in problem["detail"]
    )


@pytest.mark.usefixtures("three")
def test_each_token_is_counted_alone(
    api_of: Callable[[User, Organization], Client], bob: User, organization_a: Organization
) -> None:
    first, second = api_of(bob, organization_a), api_of(bob, organization_a)
    assert statuses(first)[-1] == 429
    assert statuses(second, times=3) == [200, 200, 200]


@pytest.mark.usefixtures("three")
def test_calls_that_are_not_allowed_are_counted(
    api_of: Callable[[User, Organization], Client], bill: User, organization_a: Organization
) -> None:
    api = api_of(bill, organization_a)
    answers = [api.post("/api/v1/jobs", {}, "application/json").status_code for _ in range(4)]
    assert answers == [403, 403, 403, 429]


@pytest.mark.usefixtures("three")
def test_who_shows_no_good_token_is_counted_by_address(client: Client, bob_api: Client) -> None:
    wrong = {"Authorization": "Bearer stu_guessed"}
    assert statuses(client, times=2) == [401, 401]
    assert statuses(client, times=2, **wrong) == [401, 429]
    # A header that anybody can write makes nobody somebody else
    assert statuses(client, times=1, **{"X-Forwarded-For": "203.0.113.1"}) == [429]
    # Who has a token is not held up by strangers at the same address
    assert statuses(bob_api, times=1) == [200]


@pytest.mark.usefixtures("three")
def test_the_description_of_the_api_is_counted_by_address(client: Client) -> None:
    answers = [client.get("/api/schema/").status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]


@pytest.mark.usefixtures("three")
def test_pages_and_agents_are_not_counted(client: Client, agent_client: Client) -> None:
    assert {client.get(LOGIN).status_code for _ in range(5)} == {200}
    calls = [agent_client.post("/agent/v1/heartbeat", "{}", "application/json") for _ in range(5)]
    assert {answer.status_code for answer in calls} == {422}


# ------------------------------------------------------------------ how it counts

TEN = Allowance(name="tok_x", sender="token", limit=10, period=60)
START = 1_000 * 60.0


def count(times: int, now: float, allowance: Allowance = TEN) -> list[int]:
    """What each of so many requests at one moment was told to wait."""
    return [_seconds_to_wait(allowance, now) for _ in range(times)]


@pytest.mark.usefixtures("redis")
def test_what_was_told_to_wait_is_let_in_then_and_not_before() -> None:
    assert count(10, START + 30) == [0] * 10
    (wait,) = count(1, START + 30)
    assert wait > 30  # the next window begins with all of this one in sight
    assert count(1, START + 30 + wait) == [0]
    assert count(1, START + 30 + wait)[0] > 0


@pytest.mark.usefixtures("redis")
def test_the_edge_of_a_window_gives_no_second_helping() -> None:
    assert count(10, START + 59.9) == [0] * 10
    assert all(count(10, START + 60.1))
    assert sum(wait == 0 for wait in count(10, START + 90)) == 5
    assert count(10, START + 180) == [0] * 10


@pytest.mark.usefixtures("redis")
def test_what_was_refused_costs_nothing() -> None:
    count(10, START)
    first = count(1, START + 1)
    count(500, START + 1)
    assert count(1, START + 1) == first


@pytest.mark.usefixtures("redis")
def test_a_limit_of_one_is_kept() -> None:
    one = Allowance(name="tok_y", sender="token", limit=1, period=60)
    assert count(1, START, one) == [0]
    (wait,) = count(1, START, one)
    assert count(1, START + wait - 2, one)[0] > 0
    assert count(1, START + wait, one) == [0]


def test_counts_go_away_by_themselves(redis: Redis) -> None:
    count_request(TEN)
    lifetimes = [redis.ttl(key) for key in redis.keys("*requests*")]
    assert lifetimes
    assert all(0 < seconds <= 120 for seconds in lifetimes)


# ------------------------------------------------------------------ whose allowance


def allowance(actor: Actor | None, address: str = "192.0.2.7") -> Allowance:
    request = Request(APIRequestFactory().get(CALL, REMOTE_ADDR=address))
    request.auth = actor
    return of_sender(request)


def fast(limit: int | None) -> Actor:
    member = Actor.of("usr_x", "org_x", Role.ARTIST)
    return member.through_token(
        "tok_x", scopes=None, workspace_ids=frozenset(), requests_per_minute=limit
    )


def test_a_tokens_own_limit_comes_before_that_of_all(settings: LazySettings) -> None:
    settings.API_RATE = (7, 10)
    assert (allowance(fast(5)).limit, allowance(fast(5)).period) == (5, 60)
    assert (allowance(fast(None)).limit, allowance(fast(None)).period) == (7, 10)


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_an_ipv6_address_stands_for_its_network(one: str, other: str, are_same: bool) -> None:
    assert (allowance(None, one).name == allowance(None, other).name) is are_same


# ------------------------------------------------------------------ settings, Redis


@pytest.mark.parametrize(
    ("text", "rate"), [("600/min", (600, 60)), ("5/s", (5, 1)), ("1/hour", (1, 3_600))]
)
def test_a_rate_is_read(monkeypatch: pytest.MonkeyPatch, text: str, rate: tuple[int, int]) -> None:
    monkeypatch.setenv("STUDIO_API_RATE", text)
    assert env.rate("STUDIO_API_RATE", default="1/s") == rate


@pytest.mark.parametrize("text", ["600", "0/min", "-1/s", "1/day", "x", "1/min/ip"])
def test_a_rate_of_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STUDIO_API_RATE", text)
    with pytest.raises(ImproperlyConfigured, match=r"STUDIO_API_RATE is .* like 600/min"):
        env.rate("STUDIO_API_RATE", default="1/s")


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.0/8 10.1.1.1", "10.0.0.1/8"])
def test_proxies_must_be_addresses(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STUDIO_TRUSTED_PROXIES", text)
    with pytest.raises(ImproperlyConfigured, match="STUDIO_TRUSTED_PROXIES holds"):
        env.networks("STUDIO_TRUSTED_PROXIES")


@pytest.mark.usefixtures("without_redis", "three")
def test_without_redis_the_api_answers_and_does_not_count(bob_api: Client) -> None:
    assert statuses(bob_api, times=5) == [200] * 5


@pytest.mark.usefixtures("without_redis")
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_without_redis_signing_in_says_that_it_cannot(
    client: Client, bob: User, workspace: Workspace, password: str
) -> None:
    page = client.get(LOGIN)
    answer = client.post(LOGIN, {"login": bob.email, "password": password})

    assert page.status_code == 200
    assert answer.status_code == 503
    assert "Redis" in answer.content.decode()
    assert "sessionid" not in answer.cookies


def test_what_lies_in_redis_is_read_as_data(redis: Redis) -> None:
    cache.set("x", [1.5, "y", True, None], 60)
    (key,) = redis.keys("*studio:cache*x")
    assert redis.get(key) == b'[1.5,"y",true,null]'

    redis.set(key, b"cos\nsystem\n(S'exit 1'\ntR.")  # what an agent could put there
    with pytest.raises(ValueError, match="Expecting value"):
        cache.get("x")


def test_tries_to_sign_in_are_counted_for_all_processes(
    client: Client, bob: User, redis: Redis
) -> None:
    client.post(LOGIN, {"login": bob.email, "password": "wrong"})
    keys = [str(key) for key in redis.keys("studio:cache*")]
    assert any("login_failed" in key for key in keys)
    assert not any(bob.email in key for key in keys)
