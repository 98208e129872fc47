"""Founding an organization; its name and its rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import AuditEvent, Organization, User
from accounts.selectors import organizations_of
from studio.core.scoping import organization_scope

pytestmark = pytest.mark.django_db


def test_an_owner_founds_another_organization(
    alice: User, organization_a: Organization, client_of: Callable[[User], Client]
) -> None:
    answer = client_of(alice).post("/organizations/new", {"name": "  Second house "})
    assert answer.status_code == 302
    founded = Organization.objects.exclude(pk=organization_a.pk).get()
    assert founded.name == "Second house"
    assert bytes(founded.wrapped_key) != bytes(organization_a.wrapped_key)
    assert organizations_of(alice.pk) == [organization_a.pk, founded.pk]
    assert client_of(alice).get(answer["Location"]).status_code == 200


def test_an_artist_founds_none(bob: User, client_of: Callable[[User], Client]) -> None:
    before = Organization.objects.count()
    assert client_of(bob).post("/organizations/new", {"name": "Mine"}).status_code == 403
    assert Organization.objects.count() == before


def test_rules_are_saved_and_audited(
    alice: User, organization_a: Organization, client_of: Callable[[User], Client]
) -> None:
    path = f"/o/{organization_a.pk}/settings"
    values = {"name": "Alpha", "requires_second_factor": "on", "session_hours": "12"}
    assert client_of(alice).post(path, values).status_code == 302
    organization_a.refresh_from_db()
    assert organization_a.requires_second_factor
    assert organization_a.session_hours == 12
    with organization_scope(organization_a.pk):
        event = AuditEvent.objects.get(action="organization.changed")
    assert event.details == {"requires_second_factor": True, "session_hours": 12}
    assert event.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": " "}, "Give the organization a name."),
        ({"name": "Alpha", "session_hours": "0"}, "1 to 2160 hours, not 0"),
        ({"name": "Alpha", "session_hours": "9999"}, "1 to 2160 hours, not 9999"),
        ({"name": "Alpha", "session_hours": "ten"}, "whole hours"),
    ],
)
def test_what_cannot_be_is_said_in_place_and_nothing_is_lost(
    alice: User,
    organization_a: Organization,
    client_of: Callable[[User], Client],
    values: dict[str, str],
    said: str,
) -> None:
    path = f"/o/{organization_a.pk}/settings"
    answer = client_of(alice).post(path, values)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert said in page
    assert values.get("session_hours", "") in page
    organization_a.refresh_from_db()
    assert organization_a.session_hours is None
