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
    MODEL_VIEW = "model:view"
    MODEL_MANAGE = "model:manage"
    WORKSPACE_VIEW = "workspace:view"
    TOKEN_MANAGE_OWN = "token:manage_own"  # noqa: S105  # the name of a permission


class Role(StrEnum):
    """What a member is in an organization."""

    OWNER = "owner"
    ADMIN = "admin"
    ARTIST = "artist"
    BILLING = "billing"
    VIEWER = "viewer"


_VIEW = frozenset(
    {
        Permission.JOB_VIEW,
        Permission.OUTPUT_VIEW,
        Permission.MODEL_VIEW,
        Permission.WORKSPACE_VIEW,
        Permission.TOKEN_MANAGE_OWN,
    }
)
_MAKE = _VIEW | {
    Permission.JOB_SUBMIT,
    Permission.JOB_CANCEL,
    Permission.OUTPUT_TRASH,
    Permission.UPLOAD_CREATE,
}

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.OWNER: frozenset(Permission),
        Role.ADMIN: frozenset(Permission),
        Role.ARTIST: frozenset(_MAKE),
        Role.BILLING: frozenset({Permission.TOKEN_MANAGE_OWN}),
        Role.VIEWER: _VIEW,
    }
)


def is_allowed(role: Role, permission: Permission) -> bool:
    """Whether the role carries the permission."""
    return permission in ROLE_PERMISSIONS[role]
