"""What single sign-on must not become: a way into somebody else's account or organization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.conf import LazySettings
from django.test import Client

from accounts.models import AuditEvent, IdentityProvider, Membership, Organization, User
from accounts.roles import Role
from studio.core.scoping import system_scope
from tests import factories
from tests.accounts.guarding import Policy, add_app, code_of, confirm, signed_in
from tests.accounts.identity_providers import OpenIdProvider, open_id_provider
from tests.accounts.signing_on import come_by_oidc, make_oidc
from tests.answers import text_of
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def there(settings: LazySettings) -> Iterator[OpenIdProvider]:
    settings.SSO_HOSTS = frozenset({"127.0.0.1"})
    with open_id_provider() as provider:
        yield provider


@pytest.fixture
def row(organization_a: Organization, there: OpenIdProvider) -> IdentityProvider:
    return make_oidc(organization_a, there)


@pytest.fixture
def row_b(organization_b: Organization, there: OpenIdProvider) -> IdentityProvider:
    """Charlie's, of the other organization: it says whatever Charlie likes."""
    return make_oidc(organization_b, there, name="Charlie's accounts")


def change(row: IdentityProvider, **fields: Any) -> None:  # noqa: ANN401  # columns
    with system_scope():
        IdentityProvider.objects.filter(pk=row.pk).update(**fields)


def actions() -> list[str]:
    with system_scope():
        return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


def connected(user: User, row: IdentityProvider, there: OpenIdProvider) -> Client:
    """A browser in which the person has signed in here, then connected the provider."""
    client = signed_in(user)
    answer = come_by_oidc(client, row, there)
    assert answer["Location"] == "/sso/connect"
    confirm(client, "/sso/connect")
    assert client.post("/sso/connect", {"action": "connect"}).status_code == 302
    return client


@pytest.mark.parametrize("email", ["bob@alpha.example", "BOB@alpha.example"])
def test_naming_somebodys_address_opens_nothing(
    client: Client, row_b: IdentityProvider, there: OpenIdProvider, bob: User, email: str
) -> None:
    there.claims |= {"email": email, "email_verified": True}
    answer = come_by_oidc(client, row_b, there)
    assert answer.status_code == 403
    assert "Sign in to it first" in text_of(answer)
    assert "_auth_user_id" not in client.session
    assert not SocialAccount.objects.exists()
    assert not Membership.objects.filter(user=bob, organization=row_b.organization).exists()


def test_not_even_the_persons_own_organization_opens_an_account_by_its_address(
    client: Client, row: IdentityProvider, there: OpenIdProvider, bob: User
) -> None:
    there.claims["email"] = bob.email
    assert come_by_oidc(client, row, there).status_code == 403


def test_who_is_signed_in_is_asked_and_then_connected(
    row: IdentityProvider, there: OpenIdProvider, bob: User, organization_a: Organization
) -> None:
    there.claims["email"] = bob.email
    client = signed_in(bob)
    come_by_oidc(client, row, there)
    assert not SocialAccount.objects.exists()
    assert client.get("/sso/connect")["Location"].startswith("/accounts/confirm/")
    confirm(client, "/sso/connect")
    page = text_of(client.get("/sso/connect"))
    assert row.name in page
    assert bob.email in page
    client.post("/sso/connect", {"action": "connect"})
    assert SocialAccount.objects.get().user == bob

    fresh = Client()
    assert come_by_oidc(fresh, row, there).status_code == 302
    assert fresh.session["_auth_user_id"] == bob.pk
    assert Membership.objects.filter(user=bob).count() == 1


def test_who_leaves_the_question_is_not_connected(
    row: IdentityProvider, there: OpenIdProvider, bob: User
) -> None:
    client = signed_in(bob)
    come_by_oidc(client, row, there)
    confirm(client, "/sso/connect")
    client.post("/sso/connect", {"action": "leave"})
    client.post("/sso/connect", {"action": "connect"})
    assert not SocialAccount.objects.exists()


def test_one_organizations_provider_does_not_open_another_organization(
    row_b: IdentityProvider, there: OpenIdProvider, bob: User, workspace: Workspace
) -> None:
    local = connected(bob, row_b, there)
    assert local.get(f"/w/{workspace.pk}/").status_code == 200  # signed in here as well

    fresh = Client()
    assert come_by_oidc(fresh, row_b, there).status_code == 302
    assert fresh.session["_auth_user_id"] == bob.pk
    answer = fresh.get(f"/w/{workspace.pk}/")
    assert answer.status_code == 403
    assert "another organization" in text_of(answer)
    assert fresh.post(f"/w/{workspace.pk}/jobs", {"prompt": "x"}).status_code == 403
    assert fresh.get("/").status_code == 403, "the room of A is not even offered"
    assert workspace.name not in text_of(fresh.get("/settings/tokens"))


def test_coming_by_both_opens_both(
    row: IdentityProvider,
    row_b: IdentityProvider,
    there: OpenIdProvider,
    bob: User,
    workspace: Workspace,
    workspace_b: Workspace,
) -> None:
    connected(bob, row, there)
    connected(bob, row_b, there)
    fresh = Client()
    come_by_oidc(fresh, row_b, there)
    assert fresh.get(f"/w/{workspace.pk}/").status_code == 403
    come_by_oidc(fresh, row, there)
    for room in (workspace, workspace_b):
        assert fresh.get(f"/w/{room.pk}/").status_code == 200


GUARDS = (
    "/accounts/password/change/",
    "/settings/security/factors/passkeys/add/",
    "/settings/security/factors/app/add/",
    "/organizations/new",
)


@pytest.mark.parametrize("address", GUARDS)
def test_a_provider_gets_no_other_way_into_the_account(
    row_b: IdentityProvider, there: OpenIdProvider, bob: User, address: str
) -> None:
    connected(bob, row_b, there)
    fresh = Client()
    come_by_oidc(fresh, row_b, there)
    for answer in (fresh.get(address), fresh.post(address, {})):
        assert answer.status_code == 302
        assert answer["Location"] == "/settings/security"


def test_a_provider_sees_and_ends_none_of_the_persons_other_sessions(
    row_b: IdentityProvider, there: OpenIdProvider, bob: User, organization_a: Organization
) -> None:
    token = factories.make_token(bob, organization_a, name="render farm")
    elsewhere = connected(bob, row_b, there)
    fresh = Client(headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"})
    come_by_oidc(fresh, row_b, there)
    page = text_of(fresh.get("/settings/security"))
    assert "Firefox" not in page
    assert "Alpha" not in page
    fresh.post("/settings/security", {"action": "end_others"})
    assert elsewhere.get("/settings/security").status_code == 200
    assert token[:12] not in text_of(fresh.get("/settings/tokens"))
    assert "render farm" not in text_of(fresh.get("/settings/tokens"))


def test_a_password_without_its_second_step_does_not_widen_a_sign_on(
    row_b: IdentityProvider, there: OpenIdProvider, bob: User, workspace: Workspace
) -> None:
    add_app(connected(bob, row_b, there))
    client = Client()
    first = client.post("/accounts/login/", {"login": bob.email, "password": factories.PASSWORD})
    assert "code" in first["Location"]
    come_by_oidc(client, row_b, there)
    assert client.session["_auth_user_id"] == bob.pk
    assert client.get(f"/w/{workspace.pk}/").status_code == 403


def test_switching_it_off_ends_what_came_by_it(
    client: Client, row: IdentityProvider, there: OpenIdProvider, workspace: Workspace
) -> None:
    come_by_oidc(client, row, there)
    assert client.get(f"/w/{workspace.pk}/").status_code == 200
    change(row, is_active=False)
    answer = client.get(f"/w/{workspace.pk}/")
    assert answer["Location"].startswith("/accounts/login/")
    assert "_auth_user_id" not in client.session


MAPPING = {"bosses": "admin", "painters": "artist", "guests": "viewer"}


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["painters"], "artist"),
        (["guests", "bosses"], "admin"),
        ("guests", "viewer"),
        (["nothing", 7, None, {"bosses": 1}], "billing"),
        (None, "billing"),
    ],
)
def test_the_highest_role_that_matches_is_given(
    client: Client,
    organization_a: Organization,
    there: OpenIdProvider,
    groups: object,
    role: str,
) -> None:
    fields = {"role_claim": "realm.groups", "role_mapping": MAPPING, "default_role": "billing"}
    row = make_oidc(organization_a, there, **fields)
    there.claims["realm"] = {"groups": groups}
    come_by_oidc(client, row, there)
    assert Membership.objects.get(user__email="new@alpha.example").role == role


def test_the_role_follows_at_each_sign_in_and_is_written_down(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    change(row, role_claim="groups", role_mapping=MAPPING)
    for groups, role in ((["bosses"], "admin"), (["guests"], "viewer"), (["guests"], "viewer")):
        there.claims["groups"] = groups
        come_by_oidc(client, row, there)
        assert Membership.objects.get(user__email="new@alpha.example").role == role
    assert actions().count("member.role_mapped") == 1
    with system_scope():
        event = AuditEvent.objects.get(action="member.role_mapped")
    assert event.details == {"provider": row.pk, "from": "admin", "to": "viewer"}


def test_without_a_mapping_roles_are_given_here(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    come_by_oidc(client, row, there)
    Membership.objects.update(role="admin")
    come_by_oidc(Client(), row, there)
    assert Membership.objects.get().role == "admin"


def test_who_has_no_role_any_more_is_refused_and_removed(
    client: Client, row: IdentityProvider, there: OpenIdProvider, workspace: Workspace
) -> None:
    change(row, role_claim="groups", role_mapping=MAPPING, default_role="")
    there.claims["groups"] = ["painters"]
    come_by_oidc(client, row, there)
    there.claims["groups"] = []
    answer = come_by_oidc(Client(), row, there)
    assert answer.status_code == 403
    assert "gives you no role" in text_of(answer)
    assert not Membership.objects.filter(user__email="new@alpha.example").exists()
    assert client.get(f"/w/{workspace.pk}/").status_code == 404, "at once, in open sessions too"
    assert "member.removed_by_sign_on" in actions()

    there.claims["groups"] = ["painters"]
    assert come_by_oidc(Client(), row, there).status_code == 302
    assert Membership.objects.get(user__email="new@alpha.example").role == "artist"


def test_who_was_a_member_before_is_refused_but_stays_one(
    row: IdentityProvider, there: OpenIdProvider, bob: User
) -> None:
    connected(bob, row, there)
    change(row, role_claim="groups", role_mapping=MAPPING, default_role="")
    assert come_by_oidc(Client(), row, there).status_code == 403
    assert Membership.objects.filter(user=bob).exists()


def test_owners_are_neither_made_nor_unmade(
    row: IdentityProvider, there: OpenIdProvider, alice: User, organization_a: Organization
) -> None:
    factories.make_member(organization_a, Role.OWNER, email="second@alpha.example")
    connected(alice, row, there)
    change(row, role_claim="groups", role_mapping={**MAPPING, "kings": "owner"}, default_role="")
    there.claims["groups"] = ["guests"]
    assert come_by_oidc(Client(), row, there).status_code == 302
    there.claims["groups"] = ["kings"]  # as if an earlier version had let it be stored
    assert come_by_oidc(Client(), row, there).status_code == 403
    assert Membership.objects.get(user=alice).role == "owner"
    there.claims |= {"sub": "subject-2", "groups": ["kings", "guests"]}
    come_by_oidc(Client(), row, there)
    assert Membership.objects.get(user__email="new@alpha.example").role == "viewer"


def test_somebody_deactivated_does_not_get_in(
    client: Client, row: IdentityProvider, there: OpenIdProvider
) -> None:
    come_by_oidc(client, row, there)
    User.objects.update(is_active=False)
    fresh = Client()
    assert come_by_oidc(fresh, row, there).status_code == 403
    assert "_auth_user_id" not in fresh.session


def require(organization: Organization) -> None:
    Organization.objects.filter(pk=organization.pk).update(requires_sign_on=True)


def test_where_it_is_required_a_password_leads_to_the_provider(
    row: IdentityProvider, there: OpenIdProvider, bob: User, workspace: Workspace
) -> None:
    require(row.organization)
    client = signed_in(bob)
    room = f"/w/{workspace.pk}/"
    answer = client.get(room)
    assert answer["Location"] == f"/sso/{row.pk}/?next=%2Fw%2F{workspace.pk}%2F"
    script = client.get(f"{room}queue", headers={"HX-Request": "true"})
    assert script.status_code == 403

    come_by_oidc(client, row, there, room)
    confirm(client, "/sso/connect")
    assert client.post("/sso/connect", {"action": "connect"})["Location"] == room
    assert client.get(room).status_code == 200


def test_owners_keep_a_way_in_and_each_use_is_written_down(
    row: IdentityProvider, alice: User, workspace: Workspace
) -> None:
    require(row.organization)
    client = signed_in(alice)
    for _ in range(3):
        assert client.get(f"/w/{workspace.pk}/").status_code == 200
    assert actions().count("sign_on.bypassed") == 1


def test_a_demand_without_a_provider_locks_nobody_out(
    row: IdentityProvider, bob: User, workspace: Workspace
) -> None:
    require(row.organization)
    change(row, is_active=False)
    assert signed_in(bob).get(f"/w/{workspace.pk}/").status_code == 200


@pytest.mark.parametrize("covers", [True, False])
def test_a_second_factor_is_the_providers_or_ours(
    client: Client,
    row: IdentityProvider,
    there: OpenIdProvider,
    workspace: Workspace,
    set_policy: Policy,
    api_of: Callable[[User, Organization], Client],
    covers: bool,
) -> None:
    change(row, covers_second_factor=covers)
    set_policy(row.organization_id, second_factor=True)
    come_by_oidc(client, row, there)
    answer = client.get(f"/w/{workspace.pk}/")
    assert answer.status_code == (200 if covers else 302)
    user = User.objects.get(email="new@alpha.example")
    asked = api_of(user, row.organization).get("/api/v1/workspaces")
    assert asked.status_code == (200 if covers else 403)
    if not covers:
        assert answer["Location"] == "/settings/security"
        assert client.get("/settings/security/factors/app/add/").status_code == 200


@pytest.mark.parametrize("covers", [True, False])
def test_ones_own_second_factor_is_asked_for_where_the_provider_is_not_enough(
    row: IdentityProvider, there: OpenIdProvider, bob: User, workspace: Workspace, covers: bool
) -> None:
    secret = add_app(connected(bob, row, there))
    change(row, covers_second_factor=covers)
    fresh = Client()
    answer = come_by_oidc(fresh, row, there, f"/w/{workspace.pk}/")
    if not covers:
        assert answer["Location"] == "/accounts/login/code/"
        assert "_auth_user_id" not in fresh.session
        answer = fresh.post("/accounts/login/code/", {"code": code_of(secret)})
    assert answer["Location"] == f"/w/{workspace.pk}/"
    assert fresh.get(f"/w/{workspace.pk}/").status_code == 200


def test_the_length_of_a_session_counts_from_the_sign_on_of_that_organization(
    client: Client,
    row: IdentityProvider,
    there: OpenIdProvider,
    workspace: Workspace,
    set_policy: Policy,
) -> None:
    come_by_oidc(client, row, there)
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 7_200
    session.save()
    set_policy(row.organization_id, hours=1)
    answer = client.get(f"/w/{workspace.pk}/")
    assert answer["Location"].startswith("/accounts/login/")
