"""Shapes of people in the API, for its documentation and its answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import people
from accounts.models import Invitation, Membership, Team
from accounts.roles import Role
from accounts.services.service_accounts import ROLES

ROLE_VALUES = [role.value for role in Role]
SERVICE_ROLE_VALUES = [role.value for role in ROLES]


class MemberSerializer(serializers.Serializer[Any]):
    """A person in the organization."""

    id = serializers.CharField(help_text="Of the person, `usr_…`.")
    name = serializers.CharField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=ROLE_VALUES)
    teams = serializers.ListField(child=serializers.CharField(), help_text="Names.")
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField(help_text="Member since.")


class MemberPageSerializer(serializers.Serializer[Any]):
    """Fifty members."""

    results = MemberSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class RoleSerializer(serializers.Serializer[Any]):
    """What a member shall be."""

    role = serializers.ChoiceField(choices=ROLE_VALUES)


class InviteSerializer(serializers.Serializer[Any]):
    """Whom to invite, as what."""

    emails = serializers.ListField(child=serializers.EmailField(), help_text="Up to 50.")
    role = serializers.ChoiceField(choices=ROLE_VALUES)
    team = serializers.CharField(required=False, help_text="Id of a team to join, too.")


class InvitationSerializer(serializers.Serializer[Any]):
    """An open invitation. Its link is in the letter alone."""

    id = serializers.CharField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=ROLE_VALUES)
    team = serializers.CharField(allow_null=True, help_text="Id.")
    invited_by = serializers.CharField(help_text="Id of the person.")
    sent_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    trouble = serializers.CharField(help_text="Why the letter was not sent; empty if it was.")


class InvitationPageSerializer(serializers.Serializer[Any]):
    """Fifty invitations."""

    results = InvitationSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class TeamRequestSerializer(serializers.Serializer[Any]):
    """A team's name and members."""

    name = serializers.CharField(max_length=80)
    members = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Ids of all its members."
    )


class TeamChangeSerializer(serializers.Serializer[Any]):
    """What is left out stays as it is."""

    name = serializers.CharField(max_length=80, required=False)
    members = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Ids of all its members."
    )


class TeamSerializer(serializers.Serializer[Any]):
    """A team."""

    id = serializers.CharField()
    name = serializers.CharField()
    members = serializers.ListField(child=serializers.CharField(), help_text="Ids.")
    created_at = serializers.DateTimeField()


class TeamListSerializer(serializers.Serializer[Any]):
    """All teams."""

    results = TeamSerializer(many=True)


class ServiceAccountRequestSerializer(serializers.Serializer[Any]):
    """A service account to be made."""

    name = serializers.CharField(max_length=80)
    role = serializers.ChoiceField(choices=SERVICE_ROLE_VALUES)


class ServiceAccountSerializer(serializers.Serializer[Any]):
    """A service account."""

    id = serializers.CharField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=ROLE_VALUES)
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class ServiceAccountListSerializer(serializers.Serializer[Any]):
    """All service accounts."""

    results = ServiceAccountSerializer(many=True)


def members_json(members: list[Membership]) -> list[dict[str, Any]]:
    """Members with the names of their teams."""
    teams = people.teams_by_member(members)
    return [
        {
            "id": member.user_id,
            "name": member.user.name,
            "email": member.user.email,
            "role": member.role,
            "teams": teams.get(member.pk, []),
            "is_active": member.user.is_active,
            "created_at": member.created_at,
        }
        for member in members
    ]


def invitations_json(invitations: list[Invitation]) -> list[dict[str, Any]]:
    """Invitations with what hindered their letters."""
    troubles = people.troubles_of(invitations)
    return [
        {
            "id": invitation.pk,
            "email": invitation.email,
            "role": invitation.role,
            "team": invitation.team_id,
            "invited_by": invitation.invited_by_id,
            "sent_at": invitation.sent_at,
            "expires_at": invitation.expires_at,
            "trouble": troubles.get(invitation.pk, ""),
        }
        for invitation in invitations
    ]


def teams_json(teams: list[Team]) -> list[dict[str, Any]]:
    """Teams with the ids of who is in them."""
    members = people.people_of_teams(teams)
    return [
        {
            "id": team.pk,
            "name": team.name,
            "members": [m.user_id for m in members[team.pk]],
            "created_at": team.created_at,
        }
        for team in teams
    ]


def service_account_json(member: Membership) -> dict[str, Any]:
    """A service account as JSON."""
    return {
        "id": member.user_id,
        "name": member.user.name,
        "role": member.role,
        "is_active": member.user.is_active,
        "created_at": member.created_at,
    }
