"""Reads of the people of an organization, in its scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce, Lower, NullIf
from django.utils import timezone

from accounts.models import Invitation, Membership, Team, TeamMember
from studio.core.errors import NotFoundError
from studio.core.mail import trouble_of
from studio.core.models import OutgoingMail


def members_of(organization_id: str, search: str = "") -> QuerySet[Membership]:
    """People, by name; whose name or address holds the searched text."""
    people = Membership.objects.select_related("user").filter(
        organization_id=organization_id, user__is_service=False
    )
    if search:
        people = people.filter(Q(user__name__icontains=search) | Q(user__email__icontains=search))
    shown = Lower(Coalesce(NullIf("user__name", Value("")), "user__email"))
    return people.order_by(shown, "user_id")


def service_accounts_of(organization_id: str) -> QuerySet[Membership]:
    """Service accounts, working ones first."""
    services = Membership.objects.select_related("user").filter(
        organization_id=organization_id, user__is_service=True
    )
    return services.order_by("-user__is_active", Lower("user__name"), "user_id")


def get_member(organization_id: str, user_id: str) -> Membership:
    """A person of the organization.

    Raises:
        NotFoundError: there is none of this id.
    """
    member = members_of(organization_id).filter(user_id=user_id).first()
    if member is None:
        raise NotFoundError(noun="member")
    return member


def open_invitations() -> QuerySet[Invitation]:
    """Neither accepted nor revoked, newest first; some may have expired."""
    found = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    return found.select_related("team", "invited_by").order_by("-id")


def is_expired(invitation: Invitation) -> bool:
    """Whether its week is over."""
    return invitation.expires_at <= timezone.now()


def troubles_of(invitations: Sequence[Invitation]) -> Mapping[str, str]:
    """By invitation: why its letter could not be sent; those that were are left out."""
    by_mail = {i.mail_id: i.pk for i in invitations if i.mail_id}
    rows = OutgoingMail.objects.filter(pk__in=by_mail).exclude(trouble="")
    return {by_mail[pk]: trouble_of(pk) for pk in rows.values_list("pk", flat=True)}


def teams_of() -> list[Team]:
    """Teams by name."""
    return list(Team.objects.order_by(Lower("name")))


def people_of_teams(teams: Sequence[Team]) -> dict[str, list[Membership]]:
    """Active members of each team, by name."""
    found: dict[str, list[Membership]] = {team.pk: [] for team in teams}
    rows = TeamMember.objects.filter(team__in=teams, membership__user__is_active=True)
    for row in rows.select_related("membership__user"):
        found[row.team_id].append(row.membership)
    for people in found.values():
        people.sort(key=lambda m: m.user.shown_name.casefold())
    return found


def teams_by_member(members: Sequence[Membership]) -> dict[int, list[str]]:
    """Names of the teams that each of the members is in."""
    found: dict[int, list[str]] = {}
    rows = TeamMember.objects.filter(membership__in=members).select_related("team")
    for row in rows.order_by(Lower("team__name")):
        found.setdefault(row.membership_id, []).append(row.team.name)
    return found
