"""Single sign-on that changes, ends or is one of several; what hangs on it ends with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from django.core import mail as outbox
from django.core.management import call_command
from django.test import Client, RequestFactory

from accounts.actors import Actor
from accounts.http import find_member
from accounts.models import ApiToken, IdentityProvider, Membership, Organization, User
from accounts.roles import OPERATOR_RIGHTS, Permission, Role
from accounts.services import sign_on
from accounts.services.tokens import create_token, rotate_token
from accounts.sign_on.providers import open_config
from accounts.token_limits import Limits
from studio.core import mail
from studio.core.errors import InvalidInputError
from studio.core.models import OutgoingMail
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.accounts.guarding import add_app, code_of, confirm, signed_in
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
def owner(alice: User, organization_a: Organization) -> Actor:
    return factories.make_actor(alice, organization_a)


def connect(client: Client, row: IdentityProvider, there: OpenIdProvider) -> None:
    come_by_oidc(client, row, there)
    confirm(client, "/sso/connect")
    assert client.post("/sso/connect", {"action": "connect"}).status_code == 302


def letters() -> list[str]:
    """Subjects of what was mailed."""
    for waiting in OutgoingMail.objects.all():
        mail.deliver(waiting.pk)
    return [str(sent.subject) for sent in outbox.outbox]


def terms_of(row: IdentityProvider) -> sign_on.Terms:
    return sign_on.Terms(name=row.name, default_role=Role.ARTIST)


def test_removing_it_ends_what_came_by_it(
    client: Client, row: IdentityProvider, there: OpenIdProvider, workspace: Workspace, owner: Actor
) -> None:
    come_by_oidc(client, row, there)
    with organization_scope(row.organization_id):
        sign_on.remove_provider(actor=owner, row=row)
    answer = client.get(f"/w/{workspace.pk}/")
    assert answer["Location"].startswith("/accounts/login/")
    assert "_auth_user_id" not in client.session
    assert "does not hold any more" in text_of(client.get("/accounts/login/"))


def test_another_issuer_ends_what_the_one_before_let_in(
    client: Client, row: IdentityProvider, there: OpenIdProvider, workspace: Workspace, owner: Actor
) -> None:
    come_by_oidc(client, row, there)
    with open_id_provider() as other, organization_scope(row.organization_id):
        other_row = make_oidc(row.organization, other)
        config = open_config(other_row)
        sign_on.change_provider(actor=owner, row=row, config=config, terms=terms_of(row))
    assert client.get(f"/w/{workspace.pk}/")["Location"].startswith("/accounts/login/")


def test_the_first_page_says_so_too(
    client: Client, row: IdentityProvider, there: OpenIdProvider, owner: Actor
) -> None:
    come_by_oidc(client, row, there)
    with organization_scope(row.organization_id):
        sign_on.switch_provider(actor=owner, row=row, is_active=False)
    assert client.get("/")["Location"].startswith("/accounts/login/")
    assert "_auth_user_id" not in client.session


@pytest.mark.django_db(transaction=True)
def test_who_had_nothing_but_a_sign_on_that_is_gone_sets_a_password_by_mail(
    client: Client, row: IdentityProvider, there: OpenIdProvider, workspace: Workspace, owner: Actor
) -> None:
    come_by_oidc(client, row, there)
    ask = {"email": "new@alpha.example"}
    Client().post("/accounts/password/reset/", ask)
    with organization_scope(row.organization_id):
        sign_on.switch_provider(actor=owner, row=row, is_active=False)
    Client().post("/accounts/password/reset/", ask)
    assert letters() == [], "not while it is there, on or off"

    with organization_scope(row.organization_id):
        sign_on.remove_provider(actor=owner, row=row)
    Client().post("/accounts/password/reset/", ask)
    assert len(letters()) == 1
    fresh = Client()
    found = re.search(r"://[^/]+(/\S+)", str(outbox.outbox[-1].body))
    assert found
    page = fresh.get(found[1], follow=True)
    new = "quite another long password"
    fresh.post(page.request["PATH_INFO"], {"password1": new, "password2": new})
    fresh.post("/accounts/login/", {"login": "new@alpha.example", "password": new})
    assert fresh.get(f"/w/{workspace.pk}/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_neither_services_nor_who_has_left_get_such_a_letter(
    client: Client, row: IdentityProvider, there: OpenIdProvider, owner: Actor
) -> None:
    come_by_oidc(client, row, there)
    with organization_scope(row.organization_id):
        sign_on.remove_provider(actor=owner, row=row)
    Membership.objects.filter(user__email="new@alpha.example").delete()
    Client().post("/accounts/password/reset/", {"email": "new@alpha.example"})
    service = factories.make_member(row.organization, Role.ARTIST, email="x@alpha.example")
    service.set_unusable_password()
    service.is_service = True
    service.save()
    Client().post("/accounts/password/reset/", {"email": "x@alpha.example"})
    assert letters() == []


def test_who_loses_the_membership_loses_tokens_with_it(
    client: Client,
    row: IdentityProvider,
    there: OpenIdProvider,
    api_of: Callable[[User, Organization], Client],
) -> None:
    with system_scope():
        changes = {"role_claim": "groups", "role_mapping": {"in": "admin"}, "default_role": ""}
        IdentityProvider.objects.update(**changes)
    there.claims["groups"] = ["in"]
    come_by_oidc(client, row, there)
    user = User.objects.get(email="new@alpha.example")
    api = api_of(user, row.organization)
    assert api.get("/api/v1/workspaces").status_code == 200
    there.claims["groups"] = []
    come_by_oidc(Client(), row, there)
    assert api.get("/api/v1/workspaces").status_code == 401
    there.claims["groups"] = ["in"]
    come_by_oidc(Client(), row, there)
    assert api.get("/api/v1/workspaces").status_code == 401, "it does not rise again"
    assert ApiToken.objects.get(user=user).revoked_at is not None


def test_the_service_takes_no_owner_either(row: IdentityProvider, owner: Actor) -> None:
    terms = sign_on.Terms(name="x", role_claim="groups", role_mapping={"kings": Role.OWNER})
    with organization_scope(row.organization_id), pytest.raises(InvalidInputError):
        sign_on.change_provider(actor=owner, row=row, config=open_config(row), terms=terms)


@pytest.mark.django_db(transaction=True)
def test_connecting_is_confirmed_and_told_by_mail(
    row: IdentityProvider, there: OpenIdProvider, bob: User
) -> None:
    client = signed_in(bob)
    come_by_oidc(client, row, there)
    answer = client.post("/sso/connect", {"action": "connect"})
    assert answer["Location"].startswith("/accounts/confirm/")
    assert come_by_oidc(Client(), row, there).status_code == 302
    assert letters() == []
    there.claims["sub"] = "subject-2"
    connect(client, row, there)
    assert letters() == ["A company\u2019s single sign-on was connected with your account"]
    assert outbox.outbox[-1].to == [bob.email]


def test_of_several_that_one_is_asked_which_knows_the_person(
    row: IdentityProvider, there: OpenIdProvider, bob: User, workspace: Workspace
) -> None:
    second = make_oidc(row.organization, there, name="Second")
    connect(signed_in(bob), second, there)
    Organization.objects.filter(pk=row.organization_id).update(requires_sign_on=True)
    assert signed_in(bob).get(f"/w/{workspace.pk}/")["Location"].startswith(f"/sso/{second.pk}/")


def test_a_second_step_is_not_spared_by_coming_by_another_provider_first(
    row: IdentityProvider,
    organization_b: Organization,
    there: OpenIdProvider,
    bob: User,
    workspace: Workspace,
) -> None:
    covering = make_oidc(organization_b, there)
    browser = signed_in(bob)
    connect(browser, row, there)
    connect(browser, covering, there)
    secret = add_app(browser)
    with system_scope():
        IdentityProvider.objects.filter(pk=row.pk).update(covers_second_factor=False)
    fresh = Client()
    come_by_oidc(fresh, covering, there)
    assert fresh.session["_auth_user_id"] == bob.pk
    answer = come_by_oidc(fresh, row, there)
    assert answer["Location"] == "/accounts/login/code/"
    assert fresh.get(f"/w/{workspace.pk}/")["Location"].startswith("/accounts/login/")
    fresh.post("/accounts/login/code/", {"code": code_of(secret)})
    assert fresh.get(f"/w/{workspace.pk}/").status_code == 200


def test_a_provider_does_not_speak_for_who_runs_the_installation(
    row: IdentityProvider, there: OpenIdProvider, bob: User, rf: RequestFactory
) -> None:
    call_command("operator", bob.email)
    browser = signed_in(bob)
    connect(browser, row, there)
    fresh = Client()
    come_by_oidc(fresh, row, there)
    for client, expected in ((browser, True), (fresh, False)):
        request = rf.get("/")
        request.user, request.session = bob, client.session
        member = find_member(request, row.organization_id)
        assert member is not None
        assert member.can(Permission.FLEET_MANAGE) is expected
        assert member.can(Permission.TOKEN_MANAGE_OWN)


def test_nor_does_a_token_that_is_made_or_renewed_there(
    row: IdentityProvider, there: OpenIdProvider, bob: User
) -> None:
    call_command("operator", bob.email)
    by_provider = factories.make_actor(bob, row.organization).by_provider()
    assert OPERATOR_RIGHTS.isdisjoint(by_provider.rights)
    old = factories.make_token(bob, row.organization)
    with organization_scope(row.organization_id):
        token_id = ApiToken.objects.get(prefix=old[:10]).pk
        for limits in (Limits(), Limits(scopes=frozenset({"fleet:manage"}))):
            with pytest.raises(InvalidInputError):
                create_token(actor=by_provider, name="x", limits=limits)
        with pytest.raises(InvalidInputError):
            rotate_token(actor=by_provider, token_id=token_id)
        create_token(actor=by_provider, name="x", limits=Limits(scopes=frozenset({"job:view"})))
