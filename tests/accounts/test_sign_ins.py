"""Sessions and passwords in the audit log."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import AuditEvent, Membership, Organization, User
from accounts.roles import Role
from studio.core.scoping import system_scope
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


def noted() -> list[tuple[str, str, str, str | None]]:
    with system_scope():
        events = AuditEvent.objects.order_by("id")
        return [(e.action, e.actor_id, e.object_id, e.address) for e in events]


def test_signing_in_and_out_and_a_new_password(client: Client, bob: User) -> None:
    client.post(LOGIN, {"login": bob.email, "password": PASSWORD})
    fresh = "another long and quiet one"
    form = {"oldpassword": PASSWORD, "password1": fresh, "password2": fresh}
    assert client.post("/accounts/password/change/", form).status_code == 302
    client.post("/accounts/logout/")
    who = (bob.pk, bob.pk, "127.0.0.1")
    assert noted() == [
        ("session.started", *who),
        ("password.changed", *who),
        ("session.ended", *who),
    ]


def test_a_refused_sign_in_is_noted_without_what_was_typed(client: Client, bob: User) -> None:
    client.post(LOGIN, {"login": "BOB@Alpha.example", "password": "a guess of somebody"})
    client.post(LOGIN, {"login": "nobody@alpha.example", "password": "another guess"})
    assert noted() == [("session.refused", "nobody", bob.pk, "127.0.0.1")]
    with system_scope():
        kept = str(list(AuditEvent.objects.values_list()))
    assert "guess" not in kept
    assert "alpha.example" not in kept.lower()


def test_each_organization_of_the_person_is_told(
    client: Client, bob: User, organization_a: Organization, organization_b: Organization
) -> None:
    Membership.objects.create(user=bob, organization=organization_b, role=Role.VIEWER.value)
    client.post(LOGIN, {"login": bob.email, "password": PASSWORD})
    with system_scope():
        told = set(AuditEvent.objects.values_list("organization_id", flat=True))
    assert told == {organization_a.pk, organization_b.pk}


def test_signing_out_without_a_session_notes_nothing(client: Client, bob: User) -> None:
    client.post("/accounts/logout/")
    assert noted() == []
