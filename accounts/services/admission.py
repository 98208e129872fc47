"""Whom an identity provider lets in, and as what.

A person is known by provider and subject, never by an e-mail address: an address is only what some
provider says. So a provider makes members of its own organization, and never somebody who is
another's; who has an account already connects it, signed in to it.
"""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.actors import Actor
from accounts.models import IdentityProvider, Membership, User
from accounts.roles import Role
from accounts.services.audit import record_event
from accounts.services.members import lock_organization, take_out
from accounts.sign_on.providers import EMAIL_MAX, Claims, wanted_role
from studio.core.errors import SignOnFailedError
from studio.core.scoping import organization_scope

# What allauth's table keeps besides the subject: no claims, only what we made.
MADE_MEMBER = "made_member"


def find_identity(provider: IdentityProvider, subject: str) -> SocialAccount | None:
    """Who came from there under this name before."""
    known = SocialAccount.objects.select_related("user")
    found: SocialAccount | None = known.filter(provider=provider.pk, uid=subject).first()
    return found


def admit(provider: IdentityProvider, claims: Claims, *, address: str = "") -> User:
    """The user who the provider's subject is, made if need be, with the role that the claims give.

    Raises:
        SignOnFailedError: they have no place here, or the address is somebody else's.
    """
    try:
        return _admit(provider, claims, address)
    except IntegrityError:  # the same person in another tab, a moment ago
        return _admit(provider, claims, address)


def connect(provider: IdentityProvider, claims: Claims, user: User, *, address: str = "") -> None:
    """Let the signed-in user come by this provider from now on.

    Raises:
        SignOnFailedError: the provider gives them no role, or the subject is somebody else's.
    """
    with organization_scope(provider.organization_id), transaction.atomic():
        if find_identity(provider, claims.subject) is not None:
            raise SignOnFailedError(why="This sign-on is connected to an account already.")
        membership = _membership(provider, user)
        role = wanted_role(provider, claims.values, _present(membership))
        if role is None:
            raise _refused(provider)
        data = {MADE_MEMBER: membership is None}
        SocialAccount.objects.create(
            user=user, provider=provider.pk, uid=claims.subject, extra_data=data
        )
        _give(provider, user, membership, role, address)
        actor = Actor.of(user.pk, provider.organization_id, role, address=address)
        record_event(actor, "sign_on.connected", provider.pk)


def _admit(provider: IdentityProvider, claims: Claims, address: str) -> User:
    with organization_scope(provider.organization_id):
        with transaction.atomic():
            identity = find_identity(provider, claims.subject)
            user = identity.user if identity else None
            membership = _membership(provider, user) if user else None
            role = wanted_role(provider, claims.values, _present(membership))
            if role is not None:
                if user is None:
                    user = _new_user(provider, claims)
                elif identity is not None and membership is None:
                    _note_made(identity)
                if not user.is_active:
                    raise _refused(provider)
                _give(provider, user, membership, role, address)
                return user
            if identity is not None and membership is not None:
                _remove(provider, identity, membership, address)
        raise _refused(provider)


def _refused(provider: IdentityProvider) -> SignOnFailedError:
    return SignOnFailedError(
        why=f"{provider.organization.name} gives you no role here. Ask who manages its accounts."
    )


def _membership(provider: IdentityProvider, user: User) -> Membership | None:
    rows = Membership.objects.select_for_update()
    return rows.filter(organization_id=provider.organization_id, user=user).first()


def _present(membership: Membership | None) -> Role | None:
    return Role(membership.role) if membership else None


def _new_user(provider: IdentityProvider, claims: Claims) -> User:
    email = claims.email.lower()
    try:
        validate_email(email)
        if len(email) > EMAIL_MAX:
            raise ValidationError("too long")
    except ValidationError:
        raise SignOnFailedError(
            why=f"{provider.name} names no e-mail address of yours. Ask who manages its accounts."
        ) from None
    if User.objects.filter(email__iexact=email).exists():
        raise SignOnFailedError(
            why="There is an account with your e-mail address already, and your company's word is "
            "not enough to open it. Sign in to it first, then come here again to connect the two."
        )
    user = User.objects.create_user(email, name=claims.name)
    data = {MADE_MEMBER: True}
    SocialAccount.objects.create(
        user=user, provider=provider.pk, uid=claims.subject, extra_data=data
    )
    return user


def _note_made(identity: SocialAccount) -> None:
    identity.extra_data = {MADE_MEMBER: True}
    identity.save(update_fields=["extra_data"])


def _give(
    provider: IdentityProvider, user: User, membership: Membership | None, role: Role, address: str
) -> None:
    organization_id = provider.organization_id
    actor = Actor.of(user.pk, organization_id, role, address=address)
    if membership is None:
        Membership.objects.create(user=user, organization_id=organization_id, role=role.value)
        details = {"provider": provider.pk, "role": role.value}
        record_event(actor, "member.joined_by_sign_on", user.pk, details)
        return
    before = membership.role
    if before in (role.value, Role.OWNER.value):  # owners are made, and unmade, by owners
        return
    membership.role = role.value
    membership.save(update_fields=["role"])
    details = {"provider": provider.pk, "from": before, "to": role.value}
    record_event(actor, "member.role_mapped", user.pk, details)


def _remove(
    provider: IdentityProvider, identity: SocialAccount, membership: Membership, address: str
) -> None:
    """Take back what the provider gave; who was a member before, or is an owner, stays one."""
    role = Role(membership.role)
    if not identity.extra_data.get(MADE_MEMBER) or role is Role.OWNER:
        return
    actor = Actor.of(identity.user_id, provider.organization_id, role, address=address)
    lock_organization(provider.organization_id)
    details = {"provider": provider.pk, **take_out(membership)}
    record_event(actor, "member.removed_by_sign_on", identity.user_id, details)
