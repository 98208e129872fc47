"""An id of another organization and one of nobody's: the same answer, at the same cost.

Byte for byte the same body and headers, and the same number of queries. Times are measured and
printed; a machine that does something else at the time would make a bound on them lie.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs.models import Output
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import Answer
from tests.factories import AgentHandle
from tests.test_route_permissions import API, PAGES, UNKNOWN, Route, gist, send
from tests.test_route_permissions import fleet_ids as fleet_ids
from tests.test_route_permissions import ids as ids
from tests.test_route_permissions import people_ids as people_ids
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db
ROUNDS = 200
# Differ between any two answers.
VARYING = ("Content-Security-Policy", "Set-Cookie")


@pytest.fixture
def own(charlie_in_b: Actor, workspace_b: Workspace, agent: AgentHandle) -> list[Output]:
    """Charlie has pictures, too: lists that are empty anyhow would show nothing."""
    return [factories.make_output(charlie_in_b, workspace_b, agent.row) for _ in range(2)]


@pytest.fixture
def charlies_api(
    charlie: User,
    organization_b: Organization,
    api_of: Callable[[User, Organization], Client],
) -> Client:
    return api_of(charlie, organization_b)


def headers_of(answer: Answer) -> dict[str, str]:
    return {name: text for name, text in answer.headers.items() if name not in VARYING}


def cost(client: Client, method: str, address: str) -> tuple[Answer, int]:
    """The answer, and how many queries it took."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = send(client, method, address)
    return answer, len(queries)  # type: ignore[return-value]  # none of these streams


def assert_same(
    client: Client, method: str, foreign: str, unknown: str, ids: Mapping[str, str]
) -> None:
    send(client, method, unknown)  # when a token or a session was last used is noted now and then
    one, cost_of_one = cost(client, method, foreign)
    other, cost_of_other = cost(client, method, unknown)
    assert one.status_code == other.status_code, (method, foreign)
    assert gist(one, ids) == gist(other, ids), (method, foreign)
    assert headers_of(one) == headers_of(other), (method, foreign)
    assert cost_of_one == cost_of_other, (method, foreign)


WITH_ID = [route for route in (*API, *PAGES) if route.parameters]


@pytest.mark.parametrize("route", WITH_ID, ids=lambda route: route.name)
def test_an_id_in_an_address(
    route: Route,
    ids: dict[str, str],
    charlie: User,
    charlies_api: Client,
    own: list[Output],
    client_of: Callable[[User], Client],
) -> None:
    client = charlies_api if route in API else client_of(charlie)
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        assert_same(client, method, route.address(ids), route.address(UNKNOWN), ids)


@pytest.mark.parametrize("route", [r for r in PAGES if len(r.parameters) > 1], ids=lambda r: r.name)
def test_an_id_below_ones_own_workspace(
    route: Route,
    ids: dict[str, str],
    charlie: User,
    own: list[Output],
    client_of: Callable[[User], Client],
) -> None:
    """`/w/<mine>/outputs/<theirs>`."""
    client = client_of(charlie)
    mine = {"workspace_id": own[0].workspace_id, "organization_id": own[0].organization_id}
    foreign, unknown = ({**given, **mine} for given in (ids, UNKNOWN))
    for method in ("GET", "POST"):
        assert_same(client, method, route.address(foreign), route.address(unknown), ids)


@pytest.mark.parametrize("name", ["workspace", "project", "team", "member", "job", "model"])
@pytest.mark.parametrize(
    "route", [r for r in API if not r.parameters], ids=lambda route: route.name
)
def test_an_id_in_a_query(
    route: Route, name: str, ids: dict[str, str], charlies_api: Client, own: list[Output]
) -> None:
    kind = f"{name}_id" if f"{name}_id" in ids else "workspace_id"
    foreign, unknown = (f"{route.address({})}?{name}={given[kind]}" for given in (ids, UNKNOWN))
    assert_same(charlies_api, "GET", foreign, unknown, ids)


def test_a_cursor_of_others_is_a_time_and_no_more(
    output: Output, own: list[Output], charlies_api: Client
) -> None:
    """Ids sort by time: a foreign one cuts the list where one's own of that time would."""
    charlies_api.get("/api/v1/jobs")  # notes when the token was last used
    for path, cursor in (("outputs", output.pk), ("jobs", output.job_id)):
        twin = cursor[:-1] + ("0" if cursor[-1] != "0" else "1")
        foreign, cost_of_foreign = cost(charlies_api, "GET", f"/api/v1/{path}?before={cursor}")
        unknown, cost_of_unknown = cost(charlies_api, "GET", f"/api/v1/{path}?before={twin}")
        assert foreign.content == unknown.content
        assert cost_of_foreign == cost_of_unknown
        with system_scope():
            assert output.organization_id not in foreign.content.decode()


@pytest.mark.parametrize("field", ["workspace", "image", "mask", "model"])
def test_an_id_in_a_body(
    field: str, ids: dict[str, str], own: list[Output], charlies_api: Client, workspace: Workspace
) -> None:
    theirs = {
        "workspace": ids["workspace_id"],
        "image": factories.make_input(workspace).sha256,
        "mask": factories.make_input(workspace, factories.make_png("white")).sha256,
        "model": ids["sha256"],
    }
    mine = factories.make_input(own[0].workspace, factories.make_png("olive")).sha256
    charlies_api.get("/api/v1/jobs")  # notes when the token was last used
    answers = []
    for value in (theirs[field], UNKNOWN["workspace_id"] if field == "workspace" else "0" * 64):
        body = {"prompt": "a red mug", "image": mine, field: value}
        with CaptureQueriesContext(connection) as queries:
            answer = charlies_api.post("/api/v1/jobs", body, "application/json")
        answers.append(
            (answer.status_code, answer.content.replace(value.encode(), b""), len(queries))
        )
    assert answers[0][0] in (404, 422)
    assert answers[0] == answers[1]


def test_an_etag_opens_nothing(
    output: Output, charlies_api: Client, charlie: User, client_of: Callable[[User], Client]
) -> None:
    """The hash of a picture, known from somewhere, does not tell that somebody here has it."""
    with system_scope():
        etag, artifact = f'"{output.picture.sha256}"', output.picture_id
    for address in (
        f"/media/{output.organization_id}/{artifact}",
        f"/w/{output.workspace_id}/outputs/{output.pk}/download",
        f"/api/v1/outputs/{output.pk}",
    ):
        for client in (charlies_api, client_of(charlie)):
            for name in ("If-None-Match", "If-Match"):
                answer = client.get(address, headers={name: etag, "Accept": "application/json"})
                assert answer.status_code in (302, 401, 404), (address, name)
                assert "ETag" not in answer.headers


@pytest.mark.parametrize(
    "path", ["jobs/{job_id}", "outputs/{output_id}", "jobs?workspace={workspace_id}"]
)
def test_the_time_it_takes(
    path: str,
    ids: dict[str, str],
    own: list[Output],
    charlies_api: Client,
    redis: object,
    record_property: Callable[[str, object], None],
) -> None:
    taken: dict[str, list[float]] = {"foreign": [], "unknown": []}
    for _ in range(ROUNDS):
        for kind, given in (("foreign", ids), ("unknown", UNKNOWN)):
            began = time.perf_counter()
            answer = charlies_api.get(f"/api/v1/{path}".format(**given))
            taken[kind].append(time.perf_counter() - began)
            assert answer.status_code == 404
    medians = {kind: statistics.median(times) * 1_000 for kind, times in taken.items()}
    print(path, {kind: f"{median:.3f} ms" for kind, median in medians.items()})
    foreign, unknown = (
        cost(charlies_api, "GET", f"/api/v1/{path}".format(**given))[1] for given in (ids, UNKNOWN)
    )
    assert foreign == unknown
