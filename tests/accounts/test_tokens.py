"""API tokens: made once, shown once, ended at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, AuditEvent, Organization, User
from accounts.roles import Permission, Role
from accounts.selectors import actor_of_token
from accounts.services.tokens import (
    create_token,
    find_token,
    hash_token,
    revoke_token,
    rotate_token,
)
from accounts.token_limits import Limits
from studio.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_a(organization_a: Organization) -> Iterator[None]:
    with organization_scope(organization_a.pk):
        yield


def test_a_token_is_found_by_its_text_and_only_its_hash_is_kept(bob_in_a: Actor) -> None:
    token, plain = create_token(actor=bob_in_a, name="  Farm ")

    assert find_token(plain) == token
    assert token.name == "Farm"
    assert plain.startswith(token.prefix)
    kept = " ".join(str(value) for value in ApiToken.objects.values_list()[0])
    assert plain not in kept
    assert plain[len(token.prefix) :] not in kept
    assert hash_token(plain) in kept


def test_tokens_differ(bob_in_a: Actor) -> None:
    assert create_token(actor=bob_in_a, name="a")[1] != create_token(actor=bob_in_a, name="a")[1]


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_name_that_is_empty_or_too_long_is_refused(bob_in_a: Actor, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        create_token(actor=bob_in_a, name=name)
    assert caught.value.problems[0].field == "name"


def test_a_revoked_token_ends_at_once_and_twice_is_fine(bob_in_a: Actor) -> None:
    token, plain = create_token(actor=bob_in_a, name="Farm")

    revoke_token(actor=bob_in_a, token_id=token.pk)
    revoke_token(actor=bob_in_a, token_id=token.pk)

    assert find_token(plain) is None
    actions = AuditEvent.objects.filter(object_id=token.pk).values_list("action", flat=True)
    assert sorted(actions) == ["token.created", "token.revoked"]


def test_nobody_revokes_the_token_of_another(bob_in_a: Actor, alice_in_a: Actor) -> None:
    token, plain = create_token(actor=bob_in_a, name="Farm")

    with pytest.raises(NotFoundError):
        revoke_token(actor=alice_in_a, token_id=token.pk)
    assert find_token(plain) == token


def test_an_expired_token_is_none(bob_in_a: Actor) -> None:
    soon = Limits(expires_at=timezone.now() + timedelta(hours=1))
    token, plain = create_token(actor=bob_in_a, name="Farm", limits=soon)
    assert find_token(plain) == token
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert find_token(plain) is None


def test_a_token_has_what_its_scopes_leave_of_its_owners_rights(bob_in_a: Actor) -> None:
    wanted = frozenset({"job:view", "model:manage"})
    token, _plain = create_token(actor=bob_in_a, name="Farm", limits=Limits(scopes=wanted))
    actor = actor_of_token(token)
    assert actor is not None
    assert actor.rights == {Permission.JOB_VIEW}


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (Limits(scopes=frozenset({"job:steal"})), "scopes"),
        (Limits(scopes=frozenset()), "scopes"),
        (Limits(requests_per_minute=0), "requests_per_minute"),
        (Limits(requests_per_minute=10**9), "requests_per_minute"),
        (Limits(expires_at=timezone.now() - timedelta(days=1)), "expires_at"),
        (Limits(expires_at=timezone.now() + timedelta(days=400)), "expires_at"),
        (Limits(workspace_ids=frozenset(map(str, range(101)))), "workspace_ids"),
    ],
)
def test_limits_that_cannot_be_are_refused(bob_in_a: Actor, limits: Limits, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        create_token(actor=bob_in_a, name="Farm", limits=limits)
    assert [problem.field for problem in caught.value.problems] == [field]
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    ("limits", "fields"),
    [
        (Limits(), ["scopes", "workspace_ids", "requests_per_minute"]),
        (
            Limits(
                scopes=frozenset({"job:view", "output:trash"}),
                workspace_ids=frozenset({"wsp_1", "wsp_2"}),
                requests_per_minute=60,
            ),
            ["scopes", "workspace_ids", "requests_per_minute"],
        ),
        (
            Limits(
                scopes=frozenset({"job:view"}),
                workspace_ids=frozenset({"wsp_1"}),
                requests_per_minute=5,
            ),
            [],
        ),
    ],
)
def test_a_token_makes_none_that_may_more_than_itself(
    bob_in_a: Actor, limits: Limits, fields: list[str]
) -> None:
    limited = bob_in_a.through_token(
        "tok_x",
        scopes=frozenset({Permission.JOB_VIEW, Permission.TOKEN_MANAGE_OWN}),
        workspace_ids=frozenset({"wsp_1"}),
        requests_per_minute=10,
    )
    if not fields:
        assert create_token(actor=limited, name="Farm", limits=limits)
        return
    with pytest.raises(InvalidInputError) as caught:
        create_token(actor=limited, name="Farm", limits=limits)
    assert [problem.field for problem in caught.value.problems] == fields


def test_a_rotated_token_works_on_for_a_day_beside_its_successor(bob_in_a: Actor) -> None:
    limits = Limits(scopes=frozenset({"job:view"}), requests_per_minute=7)
    old, old_plain = create_token(actor=bob_in_a, name="Farm", limits=limits)

    fresh, plain = rotate_token(actor=bob_in_a, token_id=old.pk)

    assert find_token(old_plain) == old
    assert find_token(plain) == fresh
    assert (fresh.name, fresh.scopes, fresh.requests_per_minute) == ("Farm", ["job:view"], 7)
    old.refresh_from_db()
    assert old.expires_at is not None
    assert timedelta(hours=23) < old.expires_at - timezone.now() < timedelta(hours=25)
    with pytest.raises(ConflictError):
        rotate_token(actor=bob_in_a, token_id=old.pk)
    ApiToken.objects.filter(pk=old.pk).update(expires_at=timezone.now())
    assert find_token(old_plain) is None
    assert find_token(plain) == fresh


def test_nobody_rotates_the_token_of_another(bob_in_a: Actor, alice_in_a: Actor) -> None:
    token, _plain = create_token(actor=bob_in_a, name="Farm")
    with pytest.raises(NotFoundError):
        rotate_token(actor=alice_in_a, token_id=token.pk)


def test_an_admin_makes_tokens_for_service_accounts_but_not_for_people(
    alice_in_a: Actor, bob_in_a: Actor, organization_a: Organization
) -> None:
    service = factories.make_member(organization_a, Role.ARTIST)
    User.objects.filter(pk=service.pk).update(is_service=True)

    token, plain = create_token(actor=alice_in_a, name="Farm", user_id=service.pk)

    assert find_token(plain) == token
    assert token.user_id == service.pk
    with pytest.raises(NotFoundError):
        create_token(actor=alice_in_a, name="Farm", user_id=bob_in_a.user_id)
    with pytest.raises(ForbiddenError):
        create_token(actor=bob_in_a, name="Farm", user_id=service.pk)
    revoke_token(actor=alice_in_a, token_id=token.pk)
    assert find_token(plain) is None


def test_an_admin_does_not_become_an_owner_by_a_service_account(
    organization_a: Organization,
) -> None:
    admin = factories.make_member(organization_a, Role.ADMIN)
    service = factories.make_member(organization_a, Role.OWNER)
    User.objects.filter(pk=service.pk).update(is_service=True)
    with pytest.raises(NotFoundError):
        create_token(
            actor=factories.make_actor(admin, organization_a), name="x", user_id=service.pk
        )


@pytest.mark.parametrize("text", ["", "stu_", "x" * 10_000, "ünïcode"])
def test_a_text_that_is_no_token_finds_none(text: str) -> None:
    assert find_token(text) is None


def test_use_is_noted_at_most_once_a_minute(bob_in_a: Actor) -> None:
    _token, plain = create_token(actor=bob_in_a, name="Farm")
    find_token(plain)
    first = ApiToken.objects.get().last_used_at
    assert first is not None

    find_token(plain)
    assert ApiToken.objects.get().last_used_at == first

    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    find_token(plain)
    again = ApiToken.objects.get().last_used_at
    assert again is not None
    assert again >= first
