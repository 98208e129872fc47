"""People in the API: members, invitations, teams, service accounts.

They live in this room because removing a member reaches down into their waiting jobs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import people
from accounts.roles import Permission
from accounts.services import invitations as letters
from accounts.services import service_accounts as services
from accounts.services import teams as work
from accounts.services.members import change_role
from jobs.api import people_shapes as shapes
from jobs.api.common import BEFORE
from jobs.services.leaving import remove_member
from studio.core.errors import invalid
from studio.core.openapi import BAD_INPUT, ERRORS, PROBLEM
from studio.core.parsing import json_object
from workspaces.api import OrganizationView

PAGE_SIZE = 50
Row = TypeVar("Row", bound=Model)
TOO_OFTEN: dict[Any, Any] = {**BAD_INPUT, 409: PROBLEM, 429: PROBLEM}
SEARCH = OpenApiParameter("q", OpenApiTypes.STR, description="A part of name or address.")
SUCCESSOR = OpenApiParameter(
    "successor",
    OpenApiTypes.STR,
    description="Id of who takes over projects, share links and open invitations.",
)
CANCEL = OpenApiParameter(
    "cancel_jobs", OpenApiTypes.BOOL, description="Cancel their waiting jobs; else they are kept."
)


def _fields(request: Request, known: Collection[str]) -> dict[str, Any]:
    """The body, which must be an object of strings and lists of strings under known names."""
    body = json_object(request)
    for name, value in body.items():
        if name not in known:
            raise invalid(str(name)[:80], "unknown", f"There is no field {str(name)[:80]} here.")
        items = value if isinstance(value, list) else [value]
        is_list = name in ("emails", "members")
        if isinstance(value, list) != is_list or not all(isinstance(i, str) for i in items):
            kind = "a list of strings" if is_list else "a string"
            raise invalid(name, "type", f"{name} must be {kind}.")
        if any("\x00" in item for item in items):
            raise invalid(name, "type", f"{name} holds a character that cannot be stored.")
    return body


def _page(rows: QuerySet[Row], before: str | None, key: str) -> tuple[list[Row], str | None]:
    """Newest first, by a key that sorts by time; and where the next page begins."""
    rows = rows.order_by(f"-{key}")
    if before:
        rows = rows.filter(**{f"{key}__lt": before})
    found = list(rows[: PAGE_SIZE + 1])
    is_more = len(found) > PAGE_SIZE
    return found[:PAGE_SIZE], str(getattr(found[PAGE_SIZE - 1], key)) if is_more else None


class MembersView(OrganizationView):
    """Who belongs to the organization."""

    permissions = {"GET": Permission.MEMBER_VIEW}

    @extend_schema(
        operation_id="list_members",
        parameters=[SEARCH, BEFORE],
        responses={200: shapes.MemberPageSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Members, the newest accounts first. Service accounts have a list of their own."""
        found = people.members_of(self.actor.organization_id, request.GET.get("q", "")[:100])
        members, following = _page(found, request.GET.get("before"), "user_id")
        return Response({"results": shapes.members_json(members), "next": following})


class MemberView(OrganizationView):
    """One member."""

    permissions = {
        "GET": Permission.MEMBER_VIEW,
        "PATCH": Permission.MEMBER_MANAGE,
        "DELETE": Permission.MEMBER_MANAGE,
    }

    def _answer(self, user_id: str) -> Response:
        member = people.get_member(self.actor.organization_id, user_id)
        return Response(shapes.members_json([member])[0])

    @extend_schema(operation_id="get_member", responses={200: shapes.MemberSerializer, **ERRORS})
    def get(self, request: Request, user_id: str) -> Response:
        """A member."""
        return self._answer(user_id)

    @extend_schema(
        operation_id="change_member",
        request=shapes.RoleSerializer,
        responses={200: shapes.MemberSerializer, **BAD_INPUT, 409: PROBLEM},
    )
    def patch(self, request: Request, user_id: str) -> Response:
        """Change the role. Admins cannot reach owners; the last owner stays one."""
        role = _fields(request, {"role"}).get("role", "")
        change_role(actor=self.actor, user_id=user_id, role=role)
        return self._answer(user_id)

    @extend_schema(
        operation_id="remove_member",
        parameters=[SUCCESSOR, CANCEL],
        responses={204: None, **BAD_INPUT, 409: PROBLEM},
    )
    def delete(self, request: Request, user_id: str) -> Response:
        """Remove from the organization. One's own id: leave."""
        remove_member(
            actor=self.actor,
            user_id=user_id,
            successor_id=request.GET.get("successor", ""),
            cancel_jobs=request.GET.get("cancel_jobs", "").lower() in ("1", "true"),
        )
        return Response(status=204)


class InvitationsView(OrganizationView):
    """Open invitations."""

    permissions = {"GET": Permission.MEMBER_MANAGE, "POST": Permission.MEMBER_MANAGE}

    @extend_schema(
        operation_id="list_invitations",
        parameters=[BEFORE],
        responses={200: shapes.InvitationPageSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Neither accepted nor revoked, newest first."""
        found, following = _page(people.open_invitations(), request.GET.get("before"), "id")
        return Response({"results": shapes.invitations_json(found), "next": following})

    @extend_schema(
        operation_id="invite",
        request=shapes.InviteSerializer,
        responses={201: shapes.InvitationPageSerializer, **TOO_OFTEN},
    )
    def post(self, request: Request) -> Response:
        """Write a letter to each address: all of them, or none."""
        body = _fields(request, {"emails", "role", "team"})
        offer = letters.Offer(role=body.get("role", ""), team_id=body.get("team", ""))
        made = letters.invite(actor=self.actor, emails=body.get("emails", []), offer=offer)
        return Response({"results": shapes.invitations_json(made), "next": None}, status=201)


class InvitationResendView(OrganizationView):
    """Another letter."""

    permissions = {"POST": Permission.MEMBER_MANAGE}

    @extend_schema(
        operation_id="resend_invitation",
        request=None,
        responses={200: shapes.InvitationSerializer, **TOO_OFTEN},
    )
    def post(self, request: Request, invitation_id: str) -> Response:
        """A new link for another seven days; the one before holds no more."""
        invitation = letters.resend(actor=self.actor, invitation_id=invitation_id)
        return Response(shapes.invitations_json([invitation])[0])


class InvitationRevokeView(OrganizationView):
    """The end of an invitation."""

    permissions = {"POST": Permission.MEMBER_MANAGE}

    @extend_schema(operation_id="revoke_invitation", request=None, responses={204: None, **ERRORS})
    def post(self, request: Request, invitation_id: str) -> Response:
        """Its link holds no more. Again: no change."""
        letters.revoke(actor=self.actor, invitation_id=invitation_id)
        return Response(status=204)


class TeamsView(OrganizationView):
    """Teams."""

    permissions = {"GET": Permission.MEMBER_VIEW, "POST": Permission.TEAM_MANAGE}

    @extend_schema(operation_id="list_teams", responses={200: shapes.TeamListSerializer, **ERRORS})
    def get(self, request: Request) -> Response:
        """All teams by name, with the ids of their members."""
        return Response({"results": shapes.teams_json(people.teams_of())})

    @extend_schema(
        operation_id="create_team",
        request=shapes.TeamRequestSerializer,
        responses={201: shapes.TeamSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """Make a team."""
        body = _fields(request, {"name", "members"})
        team = work.create_team(
            actor=self.actor, name=body.get("name", ""), user_ids=body.get("members", [])
        )
        return Response(shapes.teams_json([team])[0], status=201)


class TeamView(OrganizationView):
    """One team."""

    permissions = {
        "GET": Permission.MEMBER_VIEW,
        "PATCH": Permission.TEAM_MANAGE,
        "DELETE": Permission.TEAM_MANAGE,
    }

    @extend_schema(operation_id="get_team", responses={200: shapes.TeamSerializer, **ERRORS})
    def get(self, request: Request, team_id: str) -> Response:
        """A team."""
        team = work.get_team(self.actor, team_id, permission=Permission.MEMBER_VIEW)
        return Response(shapes.teams_json([team])[0])

    @extend_schema(
        operation_id="change_team",
        request=shapes.TeamChangeSerializer,
        responses={200: shapes.TeamSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, team_id: str) -> Response:
        """Another name, other members, or both."""
        body = _fields(request, {"name", "members"})
        team = work.change_team(
            actor=self.actor, team_id=team_id, name=body.get("name"), user_ids=body.get("members")
        )
        return Response(shapes.teams_json([team])[0])

    @extend_schema(operation_id="delete_team", responses={204: None, **ERRORS})
    def delete(self, request: Request, team_id: str) -> Response:
        """Delete the team and what was granted to it; its members stay members."""
        work.delete_team(actor=self.actor, team_id=team_id)
        return Response(status=204)


class ServiceAccountsView(OrganizationView):
    """Service accounts."""

    permissions = {
        "GET": Permission.SERVICE_ACCOUNT_MANAGE,
        "POST": Permission.SERVICE_ACCOUNT_MANAGE,
    }

    @extend_schema(
        operation_id="list_service_accounts",
        responses={200: shapes.ServiceAccountListSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """All service accounts, those that work first."""
        found = people.service_accounts_of(self.actor.organization_id)
        return Response({"results": [shapes.service_account_json(member) for member in found]})

    @extend_schema(
        operation_id="create_service_account",
        request=shapes.ServiceAccountRequestSerializer,
        responses={201: shapes.ServiceAccountSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """Make a service account: artist, viewer or admin."""
        body = _fields(request, {"name", "role"})
        user = services.create_service_account(
            actor=self.actor, name=body.get("name", ""), role=body.get("role", "")
        )
        found = people.service_accounts_of(self.actor.organization_id).get(user_id=user.pk)
        return Response(shapes.service_account_json(found), status=201)
