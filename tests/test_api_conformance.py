"""The API keeps what its OpenAPI document promises, whatever is sent to it.

Schemathesis makes requests out of the document: right ones, wrong ones, borderline ones. New
calls of the API are taken up by themselves. `STUDIO_CONFORMANCE_EXAMPLES` asks for more of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis

from accounts.models import Organization, User
from jobs.models import Output
from library.models import ModelVersion
from tests import factories
from tests.conformance import DOCUMENT, Api, Case, load, path_parameters
from tests.test_route_permissions import fleet_ids as fleet_ids
from tests.test_route_permissions import ids as ids
from tests.test_route_permissions import people_ids as people_ids
from tests.test_route_permissions import token_of

pytestmark = pytest.mark.django_db

SCHEMA = load(DOCUMENT, examples=int(os.environ.get("STUDIO_CONFORMANCE_EXAMPLES", "10")))


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Counter[int]]]:
    """What was answered; told at the end (`-rP`)."""
    found: dict[str, Counter[int]] = {}
    yield found
    for operation, statuses in sorted(found.items()):
        print(operation, dict(sorted(statuses.items())))
    print(sum(map(Counter.total, found.values())), "requests to", len(found), "operations")


@pytest.fixture
def api(
    alice: User,
    bob: User,
    organization_a: Organization,
    output: Output,
    model_version: ModelVersion,
    ids: dict[str, str],
    redis: Redis,
    seen: dict[str, Counter[int]],
) -> Api:
    """Programs of an owner and of an artist, in an organization that has some of everything."""
    tokens = {
        "owner": factories.make_token(alice, organization_a),
        "artist": factories.make_token(bob, organization_a),
    }
    named = {
        "token_id": token_of(alice, organization_a).pk,
        "workspace": output.workspace_id,
        "workspace_ids": output.workspace_id,
        "project": ids["project_id"],
        "outputs": output.pk,
        "add": output.pk,
        "remove": output.pk,
        "before": output.pk,
        "user": ids["user_id"],
        "members": ids["user_id"],
        "successor": bob.pk,
        "team": ids["team_id"],
        "model": model_version.digest,
        "image": factories.make_input(output.workspace).sha256,
        "mask": factories.make_input(output.workspace, factories.make_png("white")).sha256,
    }
    return Api(tokens, {**ids, **named}, redis, seen)


@SCHEMA.parametrize()
@settings(suppress_health_check=list(HealthCheck), deadline=None)
def test_answers_are_as_documented(case: Case, api: Api) -> None:
    api.send(case)


def test_existing_ids_reach_the_depths(api: Api) -> None:
    """A parameter without a row to name would leave all that lies behind it untested."""
    missing = path_parameters(DOCUMENT) - api.ids.keys()
    assert not missing, "make one of it in the fixture `ids`"
