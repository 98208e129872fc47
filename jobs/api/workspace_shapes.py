"""Shapes of the API's calls about workspaces."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.roles import Permission, WorkspaceRole
from jobs.api.people_shapes import ROLE_VALUES
from workspaces.models import Workspace, WorkspaceGrant
from workspaces.palette import COLORS
from workspaces.selectors import Reach

WORKSPACE_ROLE_VALUES = [role.value for role in WorkspaceRole]


class WorkspaceSerializer(serializers.Serializer[Any]):
    """A workspace of the token's organization."""

    id = serializers.CharField()
    name = serializers.CharField()
    color = serializers.ChoiceField(choices=COLORS)
    is_restricted = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)
    destroy_at = serializers.DateTimeField(allow_null=True)


class NewWorkspaceSerializer(serializers.Serializer[Any]):
    """What `POST workspaces` takes."""

    name = serializers.CharField(max_length=120)
    color = serializers.ChoiceField(required=False, choices=COLORS)
    is_restricted = serializers.BooleanField(required=False)


class WorkspaceChangesSerializer(serializers.Serializer[Any]):
    """What `PATCH workspaces/{workspace_id}` takes; what is left out stays."""

    name = serializers.CharField(required=False, max_length=120)
    color = serializers.ChoiceField(required=False, choices=COLORS)
    is_restricted = serializers.BooleanField(required=False)


class NewGrantSerializer(serializers.Serializer[Any]):
    """A grant to a member (`user`) or to a team (`team`), one of the two."""

    user = serializers.CharField(required=False)
    team = serializers.CharField(required=False)
    role = serializers.ChoiceField(choices=WORKSPACE_ROLE_VALUES)


class GrantSerializer(serializers.Serializer[Any]):
    """Lets a member or a team into a workspace."""

    id = serializers.CharField()
    user = serializers.CharField(allow_null=True)
    team = serializers.CharField(allow_null=True)
    role = serializers.ChoiceField(choices=WORKSPACE_ROLE_VALUES)
    created_at = serializers.DateTimeField()


class AccessSerializer(serializers.Serializer[Any]):
    """Somebody who gets in, and by what: the role (`by_role`), grants, or both."""

    user = serializers.CharField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=ROLE_VALUES)
    by_role = serializers.BooleanField()
    grants = GrantSerializer(many=True)
    can_manage = serializers.BooleanField()
    can_submit = serializers.BooleanField()


def workspace_json(workspace: Workspace) -> dict[str, Any]:
    """A workspace as JSON."""
    return {
        "id": workspace.pk,
        "name": workspace.name,
        "color": workspace.color,
        "is_restricted": workspace.is_restricted,
        "created_at": workspace.created_at,
        "deleted_at": workspace.deleted_at,
        "destroy_at": workspace.destroy_at,
    }


def grant_json(grant: WorkspaceGrant) -> dict[str, Any]:
    """A grant as JSON."""
    return {
        "id": grant.pk,
        "user": grant.membership.user_id if grant.membership else None,
        "team": grant.team_id,
        "role": grant.role,
        "created_at": grant.created_at,
    }


def access_json(reach: Reach) -> dict[str, Any]:
    """Somebody who gets in as JSON."""
    return {
        "user": reach.user.pk,
        "name": reach.user.shown_name,
        "role": reach.role.value,
        "by_role": reach.by_role,
        "grants": [grant_json(grant) for grant in reach.grants],
        "can_manage": Permission.WORKSPACE_MANAGE in reach.rights,
        "can_submit": Permission.JOB_SUBMIT in reach.rights,
    }
