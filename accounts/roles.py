"""Roles and permissions. Pure: the one table of who may do what."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Permission(StrEnum):
    """`resource:action`; an unknown name raises when it is written down, not when it is needed."""

    JOB_SUBMIT = "job:submit"
    JOB_VIEW = "job:view"
    JOB_CANCEL = "job:cancel"
    OUTPUT_VIEW = "output:view"
    OUTPUT_TRASH = "output:trash"
    UPLOAD_CREATE = "upload:create"
    PROJECT_MANAGE = "project:manage"
    SHARE_MANAGE = "share:manage"
    MODEL_VIEW = "model:view"
    MODEL_MANAGE = "model:manage"
    WORKSPACE_VIEW = "workspace:view"
    WORKSPACE_CREATE = "workspace:create"
    WORKSPACE_MANAGE = "workspace:manage"
    WORKSPACE_DELETE = "workspace:delete"
    MEMBER_VIEW = "member:view"
    MEMBER_MANAGE = "member:manage"
    TEAM_MANAGE = "team:manage"
    SERVICE_ACCOUNT_MANAGE = "service_account:manage"
    ORGANIZATION_MANAGE = "organization:manage"
    ORGANIZATION_EXPORT = "organization:export"
    SIGN_ON_MANAGE = "sign_on:manage"
    AUDIT_VIEW = "audit:view"
    TOKEN_MANAGE_OWN = "token:manage_own"  # noqa: S105  # the name of a permission
    FLEET_VIEW = "fleet:view"
    FLEET_MANAGE = "fleet:manage"


class Role(StrEnum):
    """What a member is in an organization."""

    OWNER = "owner"
    ADMIN = "admin"
    ARTIST = "artist"
    BILLING = "billing"
    VIEWER = "viewer"


class WorkspaceRole(StrEnum):
    """What a grant makes of a person or a team in one workspace."""

    MANAGER = "manager"
    ARTIST = "artist"
    VIEWER = "viewer"


Permissions = frozenset[Permission]

_LOOK = frozenset(
    {
        Permission.JOB_VIEW,
        Permission.OUTPUT_VIEW,
        Permission.MODEL_VIEW,
        Permission.WORKSPACE_VIEW,
    }
)
_MAKE = _LOOK | {
    Permission.JOB_SUBMIT,
    Permission.JOB_CANCEL,
    Permission.OUTPUT_TRASH,
    Permission.UPLOAD_CREATE,
    Permission.PROJECT_MANAGE,
    Permission.SHARE_MANAGE,
}
_MEMBER = frozenset({Permission.MEMBER_VIEW, Permission.TOKEN_MANAGE_OWN})
# Of the installation, not of an organization: no role has them, only who is an operator.
OPERATOR_RIGHTS = frozenset({Permission.FLEET_VIEW, Permission.FLEET_MANAGE})
# Whoever sets where people sign in can sign in as anybody, an owner included.
_OWNER_ONLY = frozenset(
    {Permission.WORKSPACE_DELETE, Permission.ORGANIZATION_EXPORT, Permission.SIGN_ON_MANAGE}
)

ROLE_PERMISSIONS: Mapping[Role, Permissions] = MappingProxyType(
    {
        Role.OWNER: frozenset(Permission) - OPERATOR_RIGHTS,
        Role.ADMIN: frozenset(Permission) - OPERATOR_RIGHTS - _OWNER_ONLY,
        Role.ARTIST: _MAKE | _MEMBER,
        Role.BILLING: _MEMBER,
        Role.VIEWER: _LOOK | _MEMBER,
    }
)
GRANTED: Mapping[WorkspaceRole, Permissions] = MappingProxyType(
    {
        WorkspaceRole.MANAGER: _MAKE | {Permission.WORKSPACE_MANAGE},
        WorkspaceRole.ARTIST: _MAKE,
        WorkspaceRole.VIEWER: _LOOK,
    }
)
# Held or not in each workspace by itself; all others hold in the organization as a whole.
IN_WORKSPACE: Permissions = GRANTED[WorkspaceRole.MANAGER] | {Permission.WORKSPACE_DELETE}
# What is left to a token that is limited to some workspaces. Whatever else holds in the
# organization as a whole leads beyond them: inviting, teams, service accounts, new workspaces.
WITHIN_WORKSPACES: Permissions = IN_WORKSPACE | {
    Permission.MEMBER_VIEW,
    Permission.AUDIT_VIEW,
    Permission.TOKEN_MANAGE_OWN,
}
# Whoever can let anybody in can let themselves in: no workspace is closed to these.
REACH_ALL = frozenset({Role.OWNER, Role.ADMIN})


def is_allowed(role: Role, permission: Permission) -> bool:
    """Whether the role carries the permission."""
    return permission in ROLE_PERMISSIONS[role]


def may_give(giver: Role, role: Role) -> bool:
    """Whether `giver` may make somebody `role`, or change or remove one who is."""
    return giver is Role.OWNER or (giver is Role.ADMIN and role is not Role.OWNER)
