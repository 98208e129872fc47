"""Who belongs to an organization, and as what.

Every change of an owner locks the organization's row first: two requests at once cannot each take
the other's owner for the one who stays. The lock leaves keys alone (`no_key`), so that rows which
refer to the organization can be written meanwhile.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Invitation, Membership, Organization
from accounts.roles import Permission, Role, may_give
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import AboveError, InvalidInputError, LastOwnerError, NotFoundError


def lock_organization(organization_id: str) -> Organization:
    """The organization's row, ours until the transaction ends."""
    return Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def check_role(role: str, field: str = "role") -> Role:
    """The role of that name.

    Raises:
        InvalidInputError: there is none.
    """
    try:
        return Role(role)
    except ValueError:
        names = ", ".join(r.value for r in Role)
        message = f"There is no role {role[:40]!r}. Choose one of {names}."
        problem = FieldProblem(field=field, code="unknown", message=message, value=role[:40])
        raise InvalidInputError([problem]) from None


@transaction.atomic
def change_role(*, actor: Actor, user_id: str, role: str) -> bool:
    """Make a member something else; False if they were that already.

    Their open invitations to roles that they may no longer give are revoked: they could be their
    own way back.

    Raises:
        NotFoundError: there is no such member.
        InvalidInputError: there is no such role.
        AboveError: an admin cannot make, nor change, an owner.
        LastOwnerError: nobody would lead the organization.
    """
    actor.require(Permission.MEMBER_MANAGE)
    lock_organization(actor.organization_id)
    membership = _person(actor.organization_id, user_id)
    wanted = check_role(role)
    before = Role(membership.role)
    if not (may_give(actor.role, before) and may_give(actor.role, wanted)):
        raise AboveError
    if before is wanted:
        return False
    if wanted is not Role.OWNER:
        check_owner_remains(membership)
    membership.role = wanted.value
    membership.save(update_fields=["role"])
    details: dict[str, object] = {"before": before.value, "after": wanted.value}
    if revoked := _revoke_invitations(user_id, but=_roles_given_by(wanted)):
        details["invitations_revoked"] = revoked
    record_event(actor, "member.role_changed", user_id, details)
    return True


def lock_removable(actor: Actor, user_id: str) -> Membership:
    """The member whom the actor may remove, or who leaves; the organization is locked.

    Raises:
        NotFoundError: there is no such member.
        ForbiddenError, AboveError: not for this actor to do.
        LastOwnerError: nobody would lead the organization.
    """
    if user_id != actor.user_id:
        actor.require(Permission.MEMBER_MANAGE)
    lock_organization(actor.organization_id)
    membership = _person(actor.organization_id, user_id)
    if user_id != actor.user_id and not may_give(actor.role, Role(membership.role)):
        raise AboveError
    check_owner_remains(membership)
    return membership


def check_successor(actor: Actor, user_id: str, successor_id: str) -> None:
    """Raise unless somebody else who is an active member takes over.

    Raises:
        InvalidInputError: nobody is named, or nobody who could.
    """
    code, message = "", ""
    if not successor_id:
        code, message = "required", "Choose who takes over what this person leaves behind."
    elif successor_id == user_id:
        code, message = "same", "Choose somebody else to take over."
    elif not _people(actor.organization_id).filter(user_id=successor_id).exists():
        code, message = "unknown", "Who takes over must be an active member of the organization."
    if code:
        problem = FieldProblem(
            field="successor", code=code, message=message, value=successor_id[:30] or None
        )
        raise InvalidInputError([problem])


def end_membership(*, actor: Actor, membership: Membership, successor_id: str = "") -> None:
    """Take a member, whom `lock_removable` gave, out of the organization."""
    user_id = membership.user_id
    details = take_out(membership, successor_id)
    is_leaving = user_id == actor.user_id
    record_event(actor, "member.left" if is_leaving else "member.removed", user_id, details)


def take_out(membership: Membership, successor_id: str = "") -> dict[str, object]:
    """End a membership with all that hangs on it; what there is to write down of it.

    Their tokens here end. Open invitations of theirs go over to the successor, or are revoked
    where there is none who could have given that role. Teams and grants go with the membership;
    their account and other organizations stay.
    """
    user_id, now = membership.user_id, timezone.now()
    tokens = ApiToken.objects.filter(
        user_id=user_id, organization_id=membership.organization_id, revoked_at=None
    ).update(revoked_at=now)
    _hand_over_invitations(membership, successor_id)
    role = membership.role
    membership.delete()
    return {"role": role, "tokens_revoked": tokens, "successor": successor_id}


def _hand_over_invitations(membership: Membership, successor_id: str) -> None:
    successor = _people(membership.organization_id).filter(user_id=successor_id).first()
    may = _roles_given_by(Role(successor.role)) if successor else []
    _revoke_invitations(membership.user_id, but=may)
    _open_invitations(membership.user_id).update(invited_by_id=successor_id)


def _revoke_invitations(user_id: str, *, but: list[str]) -> int:
    """Revoke what the person has sent, but invitations to these roles; how many."""
    return _open_invitations(user_id).exclude(role__in=but).update(revoked_at=timezone.now())


def _open_invitations(user_id: str) -> QuerySet[Invitation]:
    return Invitation.objects.filter(invited_by_id=user_id, accepted_at=None, revoked_at=None)


def _roles_given_by(role: Role) -> list[str]:
    return [other.value for other in Role if may_give(role, other)]


def _people(organization_id: str) -> QuerySet[Membership]:
    return Membership.objects.filter(
        organization_id=organization_id, user__is_active=True, user__is_service=False
    )


def _person(organization_id: str, user_id: str) -> Membership:
    membership = (
        Membership.objects.select_for_update(of=("self",))
        .select_related("user")
        .filter(organization_id=organization_id, user_id=user_id, user__is_service=False)
        .first()
    )
    if membership is None:
        raise NotFoundError(noun="member")
    return membership


def check_owner_remains(membership: Membership) -> None:
    """Raise if this is the only owner who can sign in.

    Raises:
        LastOwnerError: nobody would lead the organization.
    """
    if membership.role != Role.OWNER.value:
        return
    owners = _people(membership.organization_id).filter(role=Role.OWNER.value)
    if not owners.exclude(pk=membership.pk).exists():
        raise LastOwnerError
