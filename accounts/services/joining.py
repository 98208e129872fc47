"""Coming in by an invitation's link. The link is the credential, so it is read before any scope."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Invitation, Membership, TeamMember, User
from accounts.names import name_problems
from accounts.roles import Role
from accounts.services.audit import record_event
from accounts.services.tokens import hash_token
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import (
    ConflictError,
    InvalidInputError,
    InvitationEndedError,
    SomebodyElseError,
)
from studio.core.scoping import organization_scope, system_scope

NAME_MAX = 120
PASSWORD_MAX = 1_000
_HAS_ACCOUNT = "There is an account with this address. Sign in to it."


def read_invitation(plain: str, *, user: User | None = None) -> Invitation:
    """What the link says, for its page.

    Who has accepted it may read it again: a second click, a second tab.

    Raises:
        InvitationEndedError: it does not hold any more.
    """
    with system_scope():
        invitation = _find(plain)
    if not _is_open(invitation) and not _has_come(invitation, user):
        raise InvitationEndedError
    return invitation


def find_invited(invitation: Invitation) -> User | None:
    """The account with the invited address, if its owner can sign in to it."""
    user = User.objects.filter(email=invitation.email).first()
    return None if user is None or _is_blank(user) else user


@transaction.atomic
def accept(*, plain: str, user: User, address: str = "") -> Invitation:
    """Make the invited person, who is signed in, a member; once, however often it is asked.

    Raises:
        InvitationEndedError: it does not hold any more.
        SomebodyElseError: the letter went to another address.
    """
    with system_scope():
        invitation = _find(plain, lock=True)
    if _has_come(invitation, user):
        return invitation
    if not _is_open(invitation):
        raise InvitationEndedError
    if user.email != invitation.email or user.is_service:
        raise SomebodyElseError
    _join(invitation, user, address)
    return invitation


@transaction.atomic
def accept_as_new(
    *, plain: str, name: str, password: str, address: str = ""
) -> tuple[Invitation, User]:
    """Make an account for the invited address, and its owner a member.

    Raises:
        InvitationEndedError: it does not hold any more.
        ConflictError: the address has an account: its owner signs in.
        InvalidInputError: the name or the password cannot be.
    """
    with system_scope():
        invitation = _find(plain, lock=True)
    if not _is_open(invitation):
        raise InvitationEndedError
    if find_invited(invitation) is not None:
        raise ConflictError(what=_HAS_ACCOUNT)
    user = User.objects.select_for_update().filter(email=invitation.email).first()
    user = user or User(email=invitation.email)
    user.name = name.strip()
    _check_new(user, password)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError:  # made this very moment, by another organization's link
        raise ConflictError(what=_HAS_ACCOUNT) from None
    _join(invitation, user, address)
    return invitation, user


def _find(plain: str, *, lock: bool = False) -> Invitation:
    invitations = Invitation.objects.select_related("organization", "invited_by", "team")
    if lock:
        invitations = invitations.select_for_update(of=("self",))
    invitation = invitations.filter(token_hash=hash_token(plain)).first()
    if invitation is None:
        raise InvitationEndedError
    return invitation


def _is_open(invitation: Invitation) -> bool:
    return (
        invitation.accepted_at is None
        and invitation.revoked_at is None
        and invitation.expires_at > timezone.now()
    )


def _has_come(invitation: Invitation, user: User | None) -> bool:
    if user is None or invitation.accepted_at is None or user.email != invitation.email:
        return False
    memberships = Membership.objects.filter(organization_id=invitation.organization_id)
    return memberships.filter(user=user).exists()


def _is_blank(user: User) -> bool:
    """An account that nobody has ever used, such as a founder's before the link is opened."""
    return (
        user.is_active
        and not user.is_service
        and not user.has_usable_password()
        and user.last_login is None
        and not user.memberships.exists()
    )


def _join(invitation: Invitation, user: User, address: str) -> None:
    organization_id = invitation.organization_id
    membership, is_new = Membership.objects.get_or_create(
        user=user, organization_id=organization_id, defaults={"role": invitation.role}
    )
    invitation.accepted_at = timezone.now()
    with organization_scope(organization_id):
        Invitation.objects.filter(pk=invitation.pk).update(accepted_at=invitation.accepted_at)
        if invitation.team_id:
            TeamMember.objects.get_or_create(
                organization_id=organization_id, team_id=invitation.team_id, membership=membership
            )
        actor = Actor.of(user.pk, organization_id, Role(membership.role), address=address)
        details = {
            "invitation": invitation.pk,
            "role": membership.role,
            "team": invitation.team_id or "",
            "was_member": not is_new,
        }
        record_event(actor, "invitation.accepted", user.pk, details)


def _check_new(user: User, password: str) -> None:
    found: list[tuple[str, str]] = []
    if len(password) > PASSWORD_MAX:
        found.append(("length", f"At most {PASSWORD_MAX:,} characters."))
    else:
        try:
            validate_password(password, user=user)
        except ValidationError as error:
            found += [("weak", message) for message in error.messages]
    problems = [
        *name_problems(user.name, NAME_MAX),
        *(FieldProblem(field="password", code=code, message=message) for code, message in found),
    ]
    if problems:
        raise InvalidInputError(problems)
