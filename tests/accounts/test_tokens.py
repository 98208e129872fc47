"""API tokens: made once, shown once, ended at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, AuditEvent, Organization
from accounts.services.tokens import create_token, find_token, hash_token, revoke_token
from studio.core.errors import InvalidInputError, NotFoundError
from studio.core.scoping import organization_scope

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
    past = timezone.now() - timedelta(seconds=1)
    _token, plain = create_token(actor=bob_in_a, name="Farm", expires_at=past)
    assert find_token(plain) is None


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
