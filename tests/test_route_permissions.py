"""Every address of the product: does it say who may use it, and is that so?

One test per route walks the whole cast: nobody, each role, and Charlie of another organization,
with ids that exist. Charlie must be answered exactly as if they did not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.actors import Actor
from accounts.http import Access
from accounts.models import ApiToken, Organization, User
from accounts.permissions import ANY_TOKEN
from accounts.roles import OPERATOR_RIGHTS, Permission, Role, WorkspaceRole, is_allowed
from accounts.services.invitations import Offer, invite
from accounts.services.service_accounts import create_service_account
from jobs.models import Output
from jobs.services.fleet_joining import create_join_token
from library.models import ModelFile, ModelVersion
from studio.asgi import application
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.accounts.identity_providers import SamlProvider
from tests.accounts.signing_on import make_saml
from tests.factories import AgentHandle
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

# Pages within a wall: by what their address must begin.
SCOPED = {"workspace": "workspace_id", "organization": "organization_id"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# allauth's own views: each does its own checking, and why it is reachable is said here.
ALLAUTH: Mapping[str, str] = {
    "account_login": "people are signed out when they sign in",
    "account_logout": "ends only the session that asks",
    "account_signup": "answers that sign-up is closed",
    "account_change_password": "the signed-in person's own password",
    "account_inactive": "a sentence",
    "account_reset_password": "asks for an address; says the same of every one",
    "account_reset_password_done": "a sentence, and whether mail is being sent at all",
    "account_reset_password_from_key": "who holds the key from the mail sets a password",
    "account_reset_password_from_key_done": "a sentence",
    "mfa_authenticate": "the second step of a sign-in that this browser has begun",
    "mfa_login_webauthn": "signs in who holds a passkey",
    **dict.fromkeys(
        (
            "account_reauthenticate",
            "mfa_reauthenticate",
            "mfa_reauthenticate_webauthn",
            "mfa_activate_totp",
            "mfa_deactivate_totp",
            "mfa_view_recovery_codes",
            "mfa_generate_recovery_codes",
            "mfa_download_recovery_codes",
            "mfa_add_webauthn",
            "mfa_edit_webauthn",
            "mfa_remove_webauthn",
        ),
        "guards the signed-in person's own account, and asks again who it is",
    ),
}
UNKNOWN = {
    "workspace_id": "wsp_00000000000000000000000000",
    "job_id": "job_00000000000000000000000000",
    "output_id": "out_00000000000000000000000000",
    "artifact_id": "art_00000000000000000000000000",
    "attempt_id": "att_00000000000000000000000000",
    "organization_id": "org_00000000000000000000000000",
    "provider_id": "idp_00000000000000000000000000",
    "project_id": "prj_00000000000000000000000000",
    "share_id": "shr_00000000000000000000000000",
    "token_id": "tok_00000000000000000000000000",
    "user_id": "usr_00000000000000000000000000",
    "service_id": "usr_00000000000000000000000001",
    "invitation_id": "inv_00000000000000000000000000",
    "team_id": "tea_00000000000000000000000000",
    "grant_id": "grt_00000000000000000000000000",
    "agent_id": "agt_00000000000000000000000000",
    "version_id": "ver_00000000000000000000000000",
    "customer_id": "org_00000000000000000000000001",
    "join_id": "jot_00000000000000000000000000",
    "asset_id": "mdl_00000000000000000000000000",
    "upload_id": "mup_00000000000000000000000000",
    "wildcard_id": "wld_00000000000000000000000000",
    "grid_id": "grd_00000000000000000000000000",
    "sha256": "0" * 64,
}


@dataclass(frozen=True, slots=True)
class Route:
    """One address: how it is spelt, what answers there."""

    path: str
    name: str
    view: Callable[..., Any]

    @property
    def is_allauth(self) -> bool:
        return self.view.__module__.startswith("allauth.")

    @property
    def access(self) -> Access | None:
        return getattr(self.view, "declared_access", None)

    @property
    def api_permissions(self) -> Mapping[str, Permission | None] | None:
        return getattr(getattr(self.view, "cls", None), "permissions", None)

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.path)

    def address(self, ids: Mapping[str, str]) -> str:
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: ids[match[1]], self.path)


def walk(patterns: list[Any], prefix: str = "") -> Iterator[Route]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield Route(prefix + str(pattern.pattern), pattern.name or "", pattern.callback)


ROUTES = list(walk(get_resolver().url_patterns))
OURS = [route for route in ROUTES if not route.is_allauth]


@pytest.fixture
def people_ids(alice_in_a: Actor, organization_a: Organization) -> dict[str, str]:
    """A member, a service account, a team and a letter of organization A."""
    mia = factories.make_member(organization_a, email="mia@alpha.example")
    with organization_scope(organization_a.pk):
        offer = Offer(role=Role.ARTIST.value)
        [letter] = invite(actor=alice_in_a, emails=["new@example.org"], offer=offer)
        service = create_service_account(actor=alice_in_a, name="Farm", role=Role.ARTIST.value)
    token = token_of(service, organization_a)
    return {
        "user_id": mia.pk,
        "service_id": service.pk,
        "token_id": token.pk,
        "invitation_id": letter.pk,
        "team_id": factories.make_team(organization_a, mia).pk,
    }


@pytest.fixture
def ids(
    output: Output,
    agent: AgentHandle,
    people_ids: dict[str, str],
    fleet_ids: dict[str, str],
    bob_in_a: Actor,
) -> dict[str, str]:
    """Ids that exist, in organization A."""
    project = factories.make_project(bob_in_a, output.workspace)
    share, _token = factories.make_share(bob_in_a, output.workspace, outputs=[output])
    with system_scope():
        file = ModelFile.objects.order_by("path").first()
    assert file is not None
    guest = factories.make_member(output.workspace.organization, Role.VIEWER)
    return {
        **people_ids,
        "workspace_id": output.workspace_id,
        "organization_id": output.organization_id,
        "job_id": output.job_id,
        "output_id": output.pk,
        "artifact_id": output.picture_id,
        "attempt_id": output.attempt_id,
        "provider_id": make_saml(output.organization, SamlProvider()).pk,
        "project_id": project.pk,
        "share_id": share.pk,
        "grid_id": factories.make_grid(bob_in_a, output.workspace).pk,
        "wildcard_id": factories.make_wildcard(bob_in_a, output.workspace).pk,
        "grant_id": factories.make_grant(output.workspace, guest, WorkspaceRole.VIEWER).pk,
        "asset_id": factories.make_model_version(
            organization=output.organization, name="Own"
        ).asset_id,
        "upload_id": factories.make_model_upload(output.organization).pk,
        "sha256": file.sha256,
        **fleet_ids,
    }


@pytest.fixture
def fleet_ids(
    operator: Actor, model_version: ModelVersion, organization_b: Organization
) -> dict[str, str]:
    """What operators look after: an idle agent, a model, another organization, a join token."""
    with organization_scope(operator.organization_id):
        join, _plain = create_join_token(actor=operator)
    return {
        "agent_id": factories.make_agent("spare").row.pk,
        "version_id": model_version.pk,
        "customer_id": organization_b.pk,
        "join_id": join.pk,
    }


def token_of(user: User, organization: Organization) -> ApiToken:
    """A token that the user has beside the one they use."""
    factories.make_token(user, organization, name="another")
    return ApiToken.objects.filter(user=user, name="another").latest("id")


def send(client: Client, method: str, address: str) -> HttpResponseBase:
    headers = {"Accept": "*/*"}
    return client.generic(method, address, b"{}", "application/json", headers=headers)


def try_out(client: Client, method: str, address: str) -> HttpResponseBase:
    """The answer, with all that the call did undone: the next one finds everything as it was."""
    with transaction.atomic():
        response = send(client, method, address)
        transaction.set_rollback(True)
    return response


def gist(response: HttpResponseBase, ids: Mapping[str, str]) -> str:
    """The answer without what differs anyhow: ids and the CSRF token."""
    content = getattr(response, "content", b"").decode(errors="replace")
    content = re.sub(r'(csrf-token" content|csrfmiddlewaretoken" value)="\w+"', "", content)
    for name, value in ids.items():
        content = content.replace(value, "ID").replace(UNKNOWN[name], "ID")
    return f"{response.status_code} {content}"


def is_success(response: HttpResponseBase) -> bool:
    return 200 <= response.status_code < 300


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name or route.path)
def test_every_route_says_who_may_use_it(route: Route) -> None:
    if route.is_allauth:
        assert route.name in ALLAUTH, "a new view of allauth: say why it may be reached"
    elif route.access is None:
        assert route.api_permissions, f"/{route.path} declares no access"
        handlers = {m for m in METHODS if hasattr(route.view.cls, m.lower())}  # type: ignore[attr-defined]  # DRF's view
        assert handlers == set(route.api_permissions)
    elif route.access.kind == "public":
        assert len(route.access.reason) > 10
    elif route.access.kind in SCOPED:
        assert route.access.permission is not None
        assert route.parameters[0] == SCOPED[route.access.kind], "the scope comes from the address"
    else:
        assert route.access.kind in ("signed_in", "agent", "join_token")


def test_every_socket_says_who_may_use_it() -> None:
    router = application.application_mapping["websocket"]
    found = {}
    for pattern in router.routes:
        app = pattern.callback
        while not hasattr(app, "consumer_class"):
            app = getattr(app, "application", None) or app.inner
        found[str(pattern.pattern)] = app.consumer_class.declared_permission
    assert found == {
        "agent/v1/socket": "agent",
        "ws/w/<str:workspace_id>/": Permission.JOB_VIEW,
        "": "nobody",
    }


@dataclass(frozen=True, slots=True)
class House:
    """A browser or a program for each of the cast."""

    roles: Mapping[Role, Client]
    outsider: Client
    others: Mapping[str, Client]
    """Clients whose credential is of another kind: they are nobody here."""
    own: Mapping[Role, Mapping[str, str]] = field(default_factory=dict)
    """Ids of what is each one's own; nobody else's is to be had, whatever the role."""


def check(
    route: Route,
    ids: Mapping[str, str],
    house: House,
    allowed: Mapping[str, Permission | None],
) -> int:
    """Call the route as everybody; how many calls that were."""
    calls = 0
    address = route.address(ids)
    for method, permission in allowed.items():
        for who, client in house.others.items():
            response = send(client, method, address)
            calls += 1
            is_led_to_sign_in = response.status_code == 302 and "login" in response["Location"]
            assert response.status_code == 401 or is_led_to_sign_in, (who, method, response)
        foreign = send(house.outsider, method, address)
        unknown = send(house.outsider, method, route.address(UNKNOWN))
        calls += 2
        if route.parameters:
            # No role reaches the fleet: who is refused is refused whatever the id.
            is_fleets = permission in OPERATOR_RIGHTS and "organization_id" not in route.parameters
            assert foreign.status_code == (403 if is_fleets else 404), (method, foreign)
            assert gist(foreign, ids) == gist(unknown, ids)
        for role, client in house.roles.items():
            own = route.address({**ids, **house.own.get(role, {})})
            response = try_out(client, method, own)
            calls += 1
            if permission is ANY_TOKEN or is_allowed(role, permission):
                assert response.status_code not in (401, 403, 404), (role, method, response)
            else:
                assert response.status_code == 403, (role, method, response)
        for other in set(METHODS) - set(allowed):
            for client in (*house.roles.values(), house.outsider, *house.others.values()):
                response = send(client, other, address)
                calls += 1
                assert not is_success(response), (other, response)
    return calls


PAGES = [r for r in OURS if r.access is not None and r.access.kind in SCOPED]
API = [r for r in OURS if r.access is None]


@pytest.fixture
def users(
    bill: User, victor: User, bob: User, alice: User, organization_a: Organization
) -> dict[Role, User]:
    """Those who may least come first: what others change must not help them."""
    admin = factories.make_member(organization_a, Role.ADMIN, email="ada@alpha.example")
    return {
        Role.BILLING: bill,
        Role.VIEWER: victor,
        Role.ARTIST: bob,
        Role.ADMIN: admin,
        Role.OWNER: alice,
    }


@pytest.mark.parametrize("route", PAGES, ids=lambda route: route.name)
def test_pages_open_to_their_roles_alone(
    route: Route,
    ids: dict[str, str],
    users: dict[Role, User],
    charlie: User,
    bob_api: Client,
    agent_client: Client,
    client_of: Callable[[User], Client],
    record_property: Callable[[str, object], None],
) -> None:
    house = House(
        roles={role: client_of(user) for role, user in users.items()},
        outsider=client_of(charlie),
        others={"nobody": Client(), "a token": bob_api, "an agent": agent_client},
    )
    access = route.access
    assert access is not None
    assert access.permission is not None
    nobodys = Client()
    methods = [m for m in METHODS if send(nobodys, m, route.address(ids)).status_code != 405]
    assert methods, "no method is answered"

    calls = check(route, ids, house, dict.fromkeys(methods, access.permission))

    record_property("calls", calls)
    print(f"{route.name}: {calls} calls")


@pytest.mark.parametrize("route", API, ids=lambda route: route.name)
def test_the_api_opens_to_its_roles_alone(
    route: Route,
    ids: dict[str, str],
    users: dict[Role, User],
    bob: User,
    charlie_in_b: Actor,
    charlie: User,
    organization_a: Organization,
    organization_b: Organization,
    workspace_b: Workspace,
    agent_client: Client,
    api_of: Callable[[User, Organization], Client],
    client_of: Callable[[User], Client],
) -> None:
    house = House(
        roles={role: api_of(user, organization_a) for role, user in users.items()},
        outsider=api_of(charlie, organization_b),
        others={"nobody": Client(), "a session": client_of(bob), "an agent": agent_client},
        own={r: {"token_id": token_of(user, organization_a).pk} for r, user in users.items()},
    )
    permissions = route.api_permissions
    assert permissions

    calls = check(route, ids, house, permissions)

    print(f"{route.name}: {calls} calls")


def is_fleets(route: Route) -> bool:
    permissions = set((route.api_permissions or {}).values())
    if route.access is not None:
        permissions = {route.access.permission}
    return bool(permissions & OPERATOR_RIGHTS)


FLEETS = [route for route in OURS if is_fleets(route)]


@pytest.mark.parametrize("route", FLEETS, ids=lambda route: route.name)
def test_operators_reach_the_fleet(
    route: Route,
    ids: dict[str, str],
    olga: User,
    organization_a: Organization,
    api_of: Callable[[User, Organization], Client],
    client_of: Callable[[User], Client],
) -> None:
    client = client_of(olga) if route.access else api_of(olga, organization_a)
    answers = {m: try_out(client, m, route.address(ids)).status_code for m in METHODS}
    reached = {method for method, status in answers.items() if status not in (403, 404, 405)}
    assert reached == set(route.api_permissions or {}) or (route.access and len(reached) == 1)


def test_lists_of_another_organization_hold_nothing_of_ours(
    ids: dict[str, str],
    charlie: User,
    organization_b: Organization,
    workspace_b: Workspace,
    api_of: Callable[[User, Organization], Client],
) -> None:
    api = api_of(charlie, organization_b)
    ours = {value for name, value in ids.items() if name not in ("sha256", "customer_id")}
    for route in API:
        if not route.parameters and "GET" in (route.api_permissions or {}):
            response = send(api, "GET", route.address({}))
            text = str(b"".join(response))
            assert not [value for value in ours if value in text], route.name


@pytest.mark.parametrize(
    "route",
    [r for r in OURS if r.access is not None and r.access.kind in ("agent", "join_token")],
    ids=lambda route: route.name,
)
def test_agents_calls_open_to_agents_alone(
    route: Route,
    ids: dict[str, str],
    bob: User,
    bob_api: Client,
    client_of: Callable[[User], Client],
) -> None:
    for client in (Client(), bob_api, client_of(bob)):
        answers = {send(client, method, route.address(ids)).status_code for method in METHODS}
        assert answers == {401, 405}


@pytest.mark.parametrize(
    "route",
    [r for r in OURS if r.access is not None and r.access.kind == "signed_in"],
    ids=lambda route: route.name,
)
def test_personal_pages_need_a_session(route: Route, bob_api: Client) -> None:
    for client in (Client(), bob_api):
        for method in METHODS:
            response = send(client, method, route.address({}))
            assert response.status_code in (302, 401, 405)
            if response.status_code == 302:
                assert response["Location"].startswith("/accounts/login/")


def test_the_personal_page_shows_ones_own_tokens_only(
    alice: User,
    bob: User,
    organization_a: Organization,
    workspace: Workspace,
    client_of: Callable[[User], Client],
) -> None:
    factories.make_token(alice, organization_a, name="of-alice")
    assert b"of-alice" in client_of(alice).get("/settings/tokens").content
    assert b"of-alice" not in client_of(bob).get("/settings/tokens").content


PERSONAL = [name for name, reason in ALLAUTH.items() if "the signed-in person's" in reason]


@pytest.mark.parametrize("name", PERSONAL)
def test_allauths_personal_pages_need_a_session(name: str, bob_api: Client) -> None:
    address = next(route for route in ROUTES if route.name == name).address({"pk": "1"})
    for client in (Client(), bob_api):
        for response in (client.get(address), client.post(address)):
            assert response.status_code == 302
            assert "/login/" in response["Location"]


# Where it asks, it does not ask again.
ASKING_AGAIN = [n for n in PERSONAL if n.startswith("mfa_") and "reauthenticate" not in n]


@pytest.mark.parametrize("name", ASKING_AGAIN)
def test_what_guards_an_account_asks_again_who_it_is(
    name: str, bob: User, client_of: Callable[[User], Client]
) -> None:
    for type_, data in (("totp", {"secret": ""}), ("recovery_codes", {"seed": ""})):
        Authenticator.objects.create(user=bob, type=type_, data=data)
    if name == "mfa_activate_totp":
        Authenticator.objects.filter(type="totp").delete()
    address = next(route for route in ROUTES if route.name == name).address({"pk": "1"})
    client = client_of(bob)
    answers = [a for a in (client.get(address), client.post(address)) if a.status_code != 405]
    assert {answer.status_code for answer in answers} == {302}
    assert all(answer["Location"].startswith("/accounts/confirm/") for answer in answers)
