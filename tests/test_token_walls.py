"""Every call of the API with credentials that must not open it, on things that exist.

Expired, revoked, without the one scope, for another workspace alone, and of somebody whose team
is not let in: none may learn that the thing is there. The routes are those of
`test_route_permissions`, which walks them with every role.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.test.utils import override_settings
from django.utils import timezone

from accounts.models import ApiToken, Organization, User
from accounts.permissions import ANY_TOKEN
from accounts.roles import WITHIN_WORKSPACES, Permission
from accounts.token_limits import Limits
from tests import factories
from tests.test_route_permissions import (
    API,
    PAGES,
    UNKNOWN,
    Route,
    fleet_ids,
    gist,
    ids,
    people_ids,
    token_of,
)
from workspaces.models import Workspace

__all__ = ["fleet_ids", "ids", "people_ids"]  # fixtures
pytestmark = pytest.mark.django_db
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+")  # such as when a token was last used
# Kinds of things that lie in a workspace: who is not let in gets 404 for them.
INSIDE = ("workspace_id", "project_id", "job_id", "output_id", "artifact_id", "share_id")


@dataclass
class Tally:
    """Cases by kind, and what came out that should not have."""

    cases: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)

    def count(self, kind: str, route: Route, method: str, *, is_closed: bool) -> None:
        self.cases[kind] += 1
        if not is_closed:
            self.leaks.append(f"{kind}: {method} /{route.path}")

    def show(self) -> None:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.cases.items()))
        print(f"{self.cases.total()} cases, {len(self.leaks)} leaks ({kinds})")
        assert self.leaks == []


@pytest.fixture(autouse=True)
def _as_many_requests_as_it_takes() -> Iterator[None]:
    with override_settings(API_RATE=(100_000, 60), API_RATE_ANONYMOUS=(100_000, 60)):
        yield


def calls() -> Iterator[tuple[Route, str, Permission | None]]:
    for route in API:
        for method, permission in (route.api_permissions or {}).items():
            yield route, method, permission


def ask(
    client: Client, method: str, address: str, *, body: bytes = b"{}", query: str = ""
) -> HttpResponseBase:
    """The answer; what the call did is undone, so that each finds the same."""
    cache.clear()  # how many letters went out, and requests
    with transaction.atomic():
        answer = client.generic(
            method, address + query, body, "application/json", headers={"Accept": "*/*"}
        )
        transaction.set_rollback(True)
    return answer


def program(user: User, organization: Organization, limits: Limits | None = None) -> Client:
    plain = factories.make_token(user, organization, limits=limits or Limits())
    return Client(headers={"Authorization": f"Bearer {plain}"})


@pytest.fixture
def dead_programs(alice: User, organization_a: Organization) -> Mapping[str, Client]:
    """The owner's own tokens, but over: expired, revoked, mistyped."""
    expired = factories.make_token(alice, organization_a, name="expired")
    ApiToken.objects.filter(name="expired").update(expires_at=timezone.now() - timedelta(seconds=1))
    revoked = factories.make_token(alice, organization_a, name="revoked")
    ApiToken.objects.filter(name="revoked").update(revoked_at=timezone.now())
    texts = {"expired": expired, "revoked": revoked, "cut": expired[:-1], "empty": ""}
    return {
        kind: Client(headers={"Authorization": f"Bearer {text}"}) for kind, text in texts.items()
    }


def test_a_token_that_is_over_opens_nothing(
    ids: dict[str, str],  # a fixture
    dead_programs: Mapping[str, Client],
) -> None:
    tally = Tally()
    for route, method, _permission in calls():
        for kind, client in dead_programs.items():
            response = ask(client, method, route.address(ids))
            tally.count(kind, route, method, is_closed=response.status_code == 401)
    tally.show()


def test_a_token_without_the_scope_is_refused_whatever_else_it_has(
    ids: dict[str, str],  # a fixture
    alice: User,
    organization_a: Organization,
) -> None:
    tally, everything = Tally(), frozenset(permission.value for permission in Permission)
    programs = {
        permission: program(alice, organization_a, Limits(scopes=everything - {permission.value}))
        for _route, _method, permission in calls()
        if permission is not None
    }
    for route, method, permission in calls():
        if permission is ANY_TOKEN:
            continue
        response = ask(programs[permission], method, route.address(ids))
        is_named = permission.value in response.content.decode()  # type: ignore[attr-defined]  # no stream is open to them
        is_closed = response.status_code == 403 and is_named
        tally.count("without the scope", route, method, is_closed=is_closed)
    tally.show()


def learns_nothing(
    client: Client,
    route: Route,
    method: str,
    ids: Mapping[str, str],  # not the fixture itself
) -> bool:
    """Whether what exists is answered as what does not, by address, query and body."""
    secret = {name: ids[name] for name in INSIDE if name in ids}
    answers = []
    for known in (ids, {**ids, **{name: UNKNOWN[name] for name in secret}}):
        room = known["workspace_id"]
        body = f'{{"workspace": "{room}"}}'.encode()
        for query in ("", f"?workspace={room}"):
            for sent in (b"{}", body):
                answer = ask(client, method, route.address(known), body=sent, query=query)
                answers.append(_MOMENT.sub("", gist(answer, ids)))
    half = len(answers) // 2
    is_alike = answers[:half] == answers[half:]
    inside = any(name in INSIDE for name in route.parameters)
    # 403 to all, before anything is looked up, tells no more than 404 does.
    is_hidden = not inside or all(answer.startswith(("403", "404")) for answer in answers)
    named = ask(client, method, route.address(ids)) if not inside else None
    text = getattr(named, "content", b"").decode(errors="replace")
    return is_alike and is_hidden and not any(value in text for value in secret.values())


def test_a_token_for_another_workspace_learns_nothing_of_this_one(
    ids: dict[str, str],  # a fixture
    alice: User,
    organization_a: Organization,
) -> None:
    other = factories.make_workspace(organization_a, "Another room")
    limits = Limits(workspace_ids=frozenset({other.pk}))
    client, tally = program(alice, organization_a, limits), Tally()
    for route, method, _permission in calls():
        is_closed = learns_nothing(client, route, method, ids)
        tally.count("for another workspace", route, method, is_closed=is_closed)
    tally.show()


def test_a_token_for_some_workspaces_administers_nothing_else(
    ids: dict[str, str],  # a fixture
    alice: User,
    organization_a: Organization,
) -> None:
    """Its own workspace is open to it; whom it invited or put into a team would reach others."""
    limits = Limits(workspace_ids=frozenset({ids["workspace_id"]}))
    client, tally = program(alice, organization_a, limits), Tally()
    known = {**ids, "token_id": token_of(alice, organization_a).pk}
    for route, method, permission in calls():
        status = ask(client, method, route.address(known)).status_code
        if permission is ANY_TOKEN or permission in WITHIN_WORKSPACES:
            tally.count("within", route, method, is_closed=status not in (401, 403, 404))
        else:
            tally.count("beyond", route, method, is_closed=status == 403)
    tally.show()
    assert tally.cases["beyond"] > 10
    assert Permission.MEMBER_MANAGE not in WITHIN_WORKSPACES


@pytest.fixture
def dora(organization_a: Organization, workspace: Workspace) -> User:
    """An artist of A whose team is let into another restricted workspace, not into this one."""
    user = factories.make_member(organization_a, email="dora@alpha.example")
    other = factories.restrict(factories.make_workspace(organization_a, "Another room"))
    factories.make_grant(other, factories.make_team(organization_a, user, name="Others"))
    factories.make_grant(workspace, factories.make_team(organization_a, name="Ours"))
    return user


def test_a_member_of_another_team_learns_nothing_of_a_restricted_workspace(
    ids: dict[str, str],  # a fixture
    dora: User,
    organization_a: Organization,
    workspace: Workspace,
    client_of: Callable[[User], Client],
) -> None:
    before = program(dora, organization_a)
    assert ask(before, "GET", f"/api/v1/jobs/{ids['job_id']}").status_code == 200
    factories.restrict(workspace)
    api, browser, tally = program(dora, organization_a), client_of(dora), Tally()
    for route, method, _permission in calls():
        is_closed = learns_nothing(api, route, method, ids)
        tally.count("of another team", route, method, is_closed=is_closed)
    for route in PAGES:
        if route.access is not None and route.access.kind == "workspace":
            for method in ("GET", "POST"):
                status = ask(browser, method, route.address(ids)).status_code
                is_closed = status in (404, 405)
                tally.count("of another team, pages", route, method, is_closed=is_closed)
    tally.show()


def test_the_walk_can_fail(
    ids: dict[str, str],  # a fixture
    alice: User,
    organization_a: Organization,
) -> None:
    """The owner, with no limit, sees the things that the others must not."""
    client = program(alice, organization_a)
    seen = [r.name for r, m, _p in calls() if m == "GET" and not learns_nothing(client, r, m, ids)]
    assert {"api-job", "api-output", "api-outputs", "api-workspaces", "api-audit-events"} <= {*seen}
