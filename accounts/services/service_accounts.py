"""Service accounts: members without a person. They act through API tokens alone."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Membership, User
from accounts.names import name_problems
from accounts.roles import Permission, Role, may_give
from accounts.services.audit import record_event
from accounts.services.emails import NOBODYS_DOMAIN
from accounts.services.members import check_role
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import AboveError, InvalidInputError, NotFoundError

NAME_MAX = 80
ROLES = (Role.ARTIST, Role.VIEWER, Role.ADMIN)


@transaction.atomic
def create_service_account(*, actor: Actor, name: str, role: str) -> User:
    """A service account of the actor's organization.

    Raises:
        InvalidInputError: the name or the role cannot be.
        AboveError: the role is above the actor's.
    """
    actor.require(Permission.SERVICE_ACCOUNT_MANAGE)
    wanted = check_role(role)
    if not may_give(actor.role, wanted):
        raise AboveError
    name = name.strip()
    problems = name_problems(name, NAME_MAX)
    if wanted not in ROLES:
        message = "A service account can be artist, viewer or admin."
        problems.append(FieldProblem(field="role", code="unfit", message=message, value=role))
    if problems:
        raise InvalidInputError(problems)
    user = User(name=name, is_service=True)
    user.email = f"{user.pk.lower()}@{NOBODYS_DOMAIN}"
    user.set_unusable_password()
    user.save(force_insert=True)
    Membership.objects.create(user=user, organization_id=actor.organization_id, role=wanted.value)
    record_event(actor, "service_account.created", user.pk, {"role": wanted.value})
    return user


@transaction.atomic
def deactivate_service_account(*, actor: Actor, user_id: str) -> None:
    """End a service account and its tokens for good; what it made stays. Twice is fine.

    Raises:
        NotFoundError: there is no such service account.
        AboveError: its role is above the actor's.
    """
    actor.require(Permission.SERVICE_ACCOUNT_MANAGE)
    membership = (
        Membership.objects.select_related("user")
        .filter(organization_id=actor.organization_id, user_id=user_id, user__is_service=True)
        .first()
    )
    if membership is None:
        raise NotFoundError(noun="service account")
    if not may_give(actor.role, Role(membership.role)):
        raise AboveError
    now = timezone.now()
    tokens = ApiToken.objects.filter(user_id=user_id, revoked_at=None).update(revoked_at=now)
    if User.objects.filter(pk=user_id, is_active=True).update(is_active=False):
        details = {"tokens_revoked": tokens}
        record_event(actor, "service_account.deactivated", user_id, details)
