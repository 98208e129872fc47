"""The cast: Alice owns organization A, Bob makes pictures there, Victor looks, Bill pays; Charlie
owns organization B and must never learn anything of A.

Postgres is the launcher's, by pytest-django. The store is a folder of the test. Redis is real:
each test worker has a database and channel names of its own, emptied before every test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from asgiref.sync import SyncToAsync
from channels.layers import channel_layers
from django.conf import settings
from django.db import connections
from django.test import Client
from django.test.utils import override_settings
from redis import Redis

from accounts.actors import Actor
from accounts.models import Organization, User
from accounts.roles import Role
from jobs.models import Output
from library.models import ModelVersion
from studio.core import queue, storage
from studio.core.scoping import system_scope
from tests import factories
from tests.accounts.guarding import Policy
from tests.factories import AgentHandle
from workspaces.models import Workspace


def _redis_url() -> str:
    """A Redis database for this test worker alone (gw0 → 1, gw1 → 2, …; one worker → 15)."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    number = int(worker.removeprefix("gw")) + 1 if worker else 15
    return urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}").geturl()


@pytest.fixture(scope="session")
def redis_url() -> str:
    return _redis_url()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Threads of async tests give their connections back, or the database could not be dropped."""
    connections.settings["default"]["CONN_MAX_AGE"] = 0


@pytest.fixture(autouse=True)
def _own_redis_and_store(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tests of the web side; the agent's and the launcher's are left alone."""
    is_ours = request.node.get_closest_marker("django_db") is not None
    if is_ours:
        request.getfixturevalue("store_folder")
        request.getfixturevalue("redis")
    yield
    if is_ours and request.node.get_closest_marker("asyncio") is not None:
        # The thread in which async code ran Django's ORM keeps a connection of its own.
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture
def store_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder behind `STORAGE_URL`."""
    folder = tmp_path / "store"
    folder.mkdir()
    with override_settings(STORAGE_URL=folder.as_uri()):
        storage.store.cache_clear()
        yield folder
    storage.store.cache_clear()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """An empty Redis database; channel layer, queues and progress use it."""
    prefix = f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}-{os.getpid()}"
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [redis_url], "prefix": prefix},
    }
    client = Redis.from_url(redis_url)
    client.flushdb()
    queue.broker.cache_clear()
    caches = {"default": {**settings.CACHES["default"], "LOCATION": [redis_url]}}
    own = {"REDIS_URL": redis_url, "CHANNEL_LAYERS": {"default": layer}, "CACHES": caches}
    with override_settings(**own):
        channel_layers.backends.clear()
        yield client
    channel_layers.backends.clear()
    queue.broker.cache_clear()
    client.close()


@pytest.fixture
def organization_a() -> Organization:
    return factories.make_organization("Alpha")


@pytest.fixture
def organization_b() -> Organization:
    return factories.make_organization("Beta")


@pytest.fixture
def alice(organization_a: Organization) -> User:
    """Owner of A."""
    return factories.make_member(organization_a, Role.OWNER, email="alice@alpha.example")


@pytest.fixture
def bob(organization_a: Organization) -> User:
    """Artist in A."""
    return factories.make_member(organization_a, Role.ARTIST, email="bob@alpha.example")


@pytest.fixture
def victor(organization_a: Organization) -> User:
    """Viewer in A."""
    return factories.make_member(organization_a, Role.VIEWER, email="victor@alpha.example")


@pytest.fixture
def bill(organization_a: Organization) -> User:
    """Billing in A."""
    return factories.make_member(organization_a, Role.BILLING, email="bill@alpha.example")


@pytest.fixture
def charlie(organization_b: Organization) -> User:
    """Owner of B."""
    return factories.make_member(organization_b, Role.OWNER, email="charlie@beta.example")


@pytest.fixture
def workspace(organization_a: Organization) -> Workspace:
    """A room of A."""
    return factories.make_workspace(organization_a)


@pytest.fixture
def workspace_b(organization_b: Organization) -> Workspace:
    """A room of B."""
    return factories.make_workspace(organization_b, "Other room")


@pytest.fixture
def alice_in_a(alice: User, organization_a: Organization) -> Actor:
    return factories.make_actor(alice, organization_a)


@pytest.fixture
def bob_in_a(bob: User, organization_a: Organization) -> Actor:
    return factories.make_actor(bob, organization_a)


@pytest.fixture
def victor_in_a(victor: User, organization_a: Organization) -> Actor:
    return factories.make_actor(victor, organization_a)


@pytest.fixture
def charlie_in_b(charlie: User, organization_b: Organization) -> Actor:
    return factories.make_actor(charlie, organization_b)


@pytest.fixture
def olga(organization_a: Organization) -> User:
    """Operator of the installation; an artist in A."""
    user = factories.make_member(organization_a, Role.ARTIST, email="olga@alpha.example")
    User.objects.filter(pk=user.pk).update(is_operator=True)
    return user


@pytest.fixture
def operator(olga: User, organization_a: Organization) -> Actor:
    """Olga in A."""
    return factories.make_actor(olga, organization_a)


@pytest.fixture
def model_version(tmp_path: Path, store_folder: Path) -> ModelVersion:
    """A tiny model, public on this installation."""
    return factories.make_model_version(folder=factories.make_tiny_folder(tmp_path / "model"))


@pytest.fixture
def agent() -> AgentHandle:
    """A local agent, warm, with 8 GiB."""
    return factories.make_agent("local")


@pytest.fixture
def output(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, agent: AgentHandle
) -> Output:
    """A picture that Bob has made."""
    return factories.make_output(bob_in_a, workspace, agent.row)


@pytest.fixture
def system() -> Iterator[None]:
    """For tests of the product's own machinery: every row is to be seen."""
    with system_scope():
        yield


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """`client_of(bob)`: a browser in which Bob is signed in."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def api_of() -> Callable[[User, Organization], Client]:
    """`api_of(bob, organization_a)`: a program with Bob's token."""

    def make(user: User, organization: Organization) -> Client:
        token = factories.make_token(user, organization)
        return Client(headers={"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def bob_api(
    api_of: Callable[[User, Organization], Client], bob: User, organization_a: Organization
) -> Client:
    return api_of(bob, organization_a)


@pytest.fixture
def agent_client(agent: AgentHandle) -> Client:
    """The local agent's HTTP client."""
    return Client(headers={"Authorization": agent.header})


@pytest.fixture
def set_policy() -> Policy:
    """`set_policy(organization.pk, second_factor=True, hours=8)`: what its owner would choose."""

    def choose(
        organization_id: str, *, second_factor: bool = False, hours: int | None = None
    ) -> None:
        Organization.objects.filter(pk=organization_id).update(
            requires_second_factor=second_factor, session_hours=hours
        )

    return choose
