"""Inviting by letter, and accepting.

A link holds 256 random bits; only its hash is stored. Nothing here looks whether an address has an
account before its owner comes with the link: who invites cannot find that out.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import AuditEvent, Invitation, Membership, Team
from accounts.role_words import with_article
from accounts.roles import Permission, Role, may_give
from accounts.services.audit import record_event
from accounts.services.emails import check_emails
from accounts.services.members import check_role, lock_organization
from accounts.services.tokens import hash_token
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import (
    AboveError,
    ConflictError,
    InvalidInputError,
    LettersTooOftenError,
    NotFoundError,
)
from studio.core.mail import send_on_commit, trouble_of
from studio.core.urls import absolute

LIFE = timedelta(days=7)
LETTERS_PER_HOUR = 4
OPEN_MAX = 1_000
HOUR = timedelta(hours=1)
LETTERS = ("invitation.created", "invitation.resent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What somebody is invited to be."""

    role: str
    team_id: str = ""


@transaction.atomic
def invite(*, actor: Actor, emails: Sequence[str], offer: Offer) -> list[Invitation]:
    """Write a letter to each address; all of them or none.

    Raises:
        InvalidInputError: an address, the role or the team cannot be.
        AboveError: an admin cannot make an owner.
        LettersTooOftenError: an address got too many already.
    """
    actor.require(Permission.MEMBER_MANAGE)
    role = check_role(offer.role)
    if not may_give(actor.role, role):
        raise AboveError
    team = _team(offer.team_id)
    organization = lock_organization(actor.organization_id)
    addresses = check_emails(emails)
    _end_expired(addresses)
    _check_not_here(actor.organization_id, addresses)
    for address in addresses:
        _check_pace(address)
    made = []
    for address in addresses:
        invitation = Invitation(
            organization=organization,
            email=address,
            role=role.value,
            team=team,
            invited_by_id=actor.user_id,
        )
        _write(invitation, _renew(invitation))
        invitation.save(force_insert=True)
        details = {"role": role.value, "team": offer.team_id}
        record_event(actor, "invitation.created", invitation.pk, details)
        made.append(invitation)
    return made


@transaction.atomic
def resend(*, actor: Actor, invitation_id: str) -> Invitation:
    """A new letter with a new link; the one before holds no more.

    Raises:
        NotFoundError: it is not open.
        AboveError: an admin cannot make an owner.
        LettersTooOftenError: the address got too many already.
    """
    invitation = _open(actor, invitation_id)
    _check_pace(invitation.email)
    _write(invitation, _renew(invitation))
    invitation.save()
    record_event(actor, "invitation.resent", invitation.pk)
    return invitation


@transaction.atomic
def make_link(*, actor: Actor, invitation_id: str) -> tuple[Invitation, str]:
    """A link to pass on by hand, for a letter that could not be sent. It is never to be had again.

    Raises:
        NotFoundError: it is not open.
        AboveError: an admin cannot make an owner.
        ConflictError: the letter was sent: the link belongs to who got it.
    """
    invitation = _open(actor, invitation_id)
    if invitation.mail_id and not trouble_of(invitation.mail_id):
        raise ConflictError(what="The letter was sent, and the link is in it. Send it again.")
    plain = _renew(invitation)
    invitation.mail_id = ""
    invitation.save()
    record_event(actor, "invitation.link_made", invitation.pk)
    return invitation, link_of(plain)


@transaction.atomic
def revoke(*, actor: Actor, invitation_id: str) -> None:
    """End an invitation; twice is fine.

    Raises:
        NotFoundError: there is none, or it was accepted.
        AboveError: an admin cannot touch an owner's.
    """
    actor.require(Permission.MEMBER_MANAGE)
    invitation = (
        Invitation.objects.select_for_update().filter(pk=invitation_id, accepted_at=None).first()
    )
    if invitation is None:
        raise NotFoundError(noun="invitation")
    if not may_give(actor.role, Role(invitation.role)):
        raise AboveError
    if invitation.revoked_at is None:
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        record_event(actor, "invitation.revoked", invitation.pk)


def link_of(plain: str) -> str:
    """The address to open."""
    return f"{absolute(reverse('join'))}?key={plain}"


def renew_link(invitation: Invitation) -> str:
    """Give the invitation, not saved yet, a fresh link and a fresh week; the link."""
    return link_of(_renew(invitation))


def _renew(invitation: Invitation) -> str:
    plain, now = secrets.token_urlsafe(32), timezone.now()
    invitation.token_hash = hash_token(plain)
    invitation.sent_at = now
    invitation.expires_at = now + LIFE
    return plain


def _write(invitation: Invitation, plain: str) -> None:
    context = {
        "inviter": invitation.invited_by.shown_name,
        "organization": invitation.organization.name,
        "role": with_article(invitation.role),
        "link": link_of(plain),
        "until": invitation.expires_at,
    }
    invitation.mail_id = send_on_commit("invitation", invitation.email, context)


def _open(actor: Actor, invitation_id: str) -> Invitation:
    actor.require(Permission.MEMBER_MANAGE)
    invitation = (
        Invitation.objects.select_for_update(of=("self",))
        .select_related("organization", "invited_by")
        .filter(pk=invitation_id, accepted_at=None, revoked_at=None)
        .first()
    )
    if invitation is None:
        raise NotFoundError(noun="open invitation")
    if not may_give(actor.role, Role(invitation.role)):
        raise AboveError
    return invitation


def _team(team_id: str) -> Team | None:
    if not team_id:
        return None
    team = Team.objects.filter(pk=team_id).first()
    if team is None:
        message = "There is no such team any more. Choose another, or none."
        problem = FieldProblem(field="team", code="unknown", message=message, value=team_id[:30])
        raise InvalidInputError([problem])
    return team


def _end_expired(addresses: Sequence[str]) -> None:
    now = timezone.now()
    Invitation.objects.filter(
        email__in=addresses, accepted_at=None, revoked_at=None, expires_at__lte=now
    ).update(revoked_at=now)


def _check_not_here(organization_id: str, addresses: Sequence[str]) -> None:
    open_ones = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    members = set(
        Membership.objects.filter(
            organization_id=organization_id, user__email__in=addresses
        ).values_list("user__email", flat=True)
    )
    invited = set(open_ones.filter(email__in=addresses).values_list("email", flat=True))
    found = [(a, "member", f"{a} is a member already.") for a in addresses if a in members]
    found += [
        (a, "invited", f"{a} is invited already. Send that invitation again instead.")
        for a in addresses
        if a in invited
    ]
    problems = [
        FieldProblem(field="emails", code=code, message=message, value=address)
        for address, code, message in found
    ]
    if not problems and open_ones.count() + len(addresses) > OPEN_MAX:
        message = f"An organization can have {OPEN_MAX:,} open invitations. Revoke some first."
        problems = [FieldProblem(field="emails", code="too_many", message=message, limit=OPEN_MAX)]
    if problems:
        raise InvalidInputError(problems)


def _check_pace(address: str) -> None:
    """Letters of this organization to the address within the hour, revoked ones too."""
    now = timezone.now()
    ids = Invitation.objects.filter(email=address).values("pk")
    letters = AuditEvent.objects.filter(
        object_id__in=ids, action__in=LETTERS, created_at__gt=now - HOUR
    ).order_by("-created_at")
    times = list(letters.values_list("created_at", flat=True)[:LETTERS_PER_HOUR])
    if len(times) >= LETTERS_PER_HOUR:
        wait = times[-1] + HOUR - now
        raise LettersTooOftenError(
            sent=len(times), limit=LETTERS_PER_HOUR, minutes=max(1, ceil(wait.total_seconds() / 60))
        )
