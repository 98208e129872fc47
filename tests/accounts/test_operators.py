"""Who runs the installation has rights over the fleet; no role of an organization gives them."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiToken, AuditEvent, Organization, User
from accounts.roles import OPERATOR_RIGHTS, ROLE_PERMISSIONS, WITHIN_WORKSPACES, Permission
from accounts.selectors import actor_of_token, find_actor
from accounts.token_limits import Limits
from studio.core.scoping import organization_scope
from tests import factories

pytestmark = pytest.mark.django_db


def test_no_role_reaches_the_fleet() -> None:
    assert not any(OPERATOR_RIGHTS & rights for rights in ROLE_PERMISSIONS.values())


def test_a_command_makes_and_unmakes_an_operator(
    alice: User, bob: User, organization_a: Organization
) -> None:
    call_command("operator", bob.email.upper())
    known = find_actor(bob.pk, organization_a.pk)
    assert known is not None
    assert known.rights == ROLE_PERMISSIONS[known.role] | OPERATOR_RIGHTS
    owner = find_actor(alice.pk, organization_a.pk)
    assert owner is not None
    assert not owner.can(Permission.FLEET_VIEW)
    with organization_scope(organization_a.pk):
        assert AuditEvent.objects.filter(action="operator.added", object_id=bob.pk).exists()

    call_command("operator", bob.email, remove=True)
    known = find_actor(bob.pk, organization_a.pk)
    assert known is not None
    assert not known.rights & OPERATOR_RIGHTS


def test_nobody_can_be_no_operator() -> None:
    with pytest.raises(CommandError, match="nobody@example"):
        call_command("operator", "nobody@example.org")


def test_a_token_for_some_workspaces_does_nothing_to_the_organization_or_the_fleet(
    alice: User, organization_a: Organization
) -> None:
    call_command("operator", alice.email)
    for limits in (Limits(), Limits(workspace_ids=frozenset({"wsp_00000000000000000000000000"}))):
        factories.make_token(alice, organization_a, limits=limits)
        token = ApiToken.objects.filter(user=alice).latest("id")
        actor = actor_of_token(token)
        assert actor is not None
        expected = not limits.workspace_ids
        assert actor.can(Permission.FLEET_MANAGE) is expected
        assert actor.can(Permission.MEMBER_MANAGE) is expected
        assert actor.can(Permission.JOB_SUBMIT)
        assert expected or actor.rights <= WITHIN_WORKSPACES
