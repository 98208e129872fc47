"""The Actor: who is asking, where, with which rights. What edges pass to services."""

from __future__ import annotations

from dataclasses import dataclass, replace

from accounts.roles import (
    FOR_SOME_WORKSPACES,
    OPERATOR_RIGHTS,
    ROLE_PERMISSIONS,
    Permission,
    Permissions,
    Role,
)
from studio.core.errors import ForbiddenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A user acting in one organization, in the browser or through a token.

    `rights` are those of the role, and of an operator those over the fleet, less what the token's
    scopes and workspaces leave out. In a workspace they may be others: `workspaces.access` answers
    with an actor for just that one (`workspace_id`).
    """

    user_id: str
    organization_id: str
    role: Role
    rights: Permissions
    token_id: str = ""
    scopes: Permissions | None = None
    workspace_ids: frozenset[str] = frozenset()
    requests_per_minute: int | None = None
    workspace_id: str = ""
    address: str = ""

    @classmethod
    def of(
        cls,
        user_id: str,
        organization_id: str,
        role: Role,
        *,
        address: str = "",
        is_operator: bool = False,
    ) -> Actor:
        """A member; `address` is where the request comes from, for the audit log."""
        return cls(
            user_id=user_id,
            organization_id=organization_id,
            role=role,
            rights=ROLE_PERMISSIONS[role] | (OPERATOR_RIGHTS if is_operator else frozenset()),
            address=address,
        )

    def through_token(
        self,
        token_id: str,
        *,
        scopes: Permissions | None,
        workspace_ids: frozenset[str],
        requests_per_minute: int | None,
    ) -> Actor:
        """The same member as a program: limits only take away. No scopes given: none taken.

        Who is limited to some workspaces can do nothing to the organization as a whole.
        """
        rights = self.rights if scopes is None else self.rights & scopes
        return replace(
            self,
            rights=rights & FOR_SOME_WORKSPACES if workspace_ids else rights,
            token_id=token_id,
            scopes=scopes,
            workspace_ids=workspace_ids,
            requests_per_minute=requests_per_minute,
        )

    def by_provider(self) -> Actor:
        """The same member in a session that an identity provider alone has opened.

        A provider is one organization's, so it never speaks for who runs the installation, nor do
        tokens that are made there.
        """
        if not self.rights & OPERATOR_RIGHTS:
            return self
        kept = frozenset(Permission) - OPERATOR_RIGHTS
        return replace(self, rights=self.rights & kept, scopes=kept)

    def within(self, workspace_id: str, rights: Permissions) -> Actor:
        """The same actor in one workspace, with the rights there."""
        kept = rights if self.scopes is None else rights & self.scopes
        return replace(self, rights=kept, workspace_id=workspace_id)

    def can(self, permission: Permission) -> bool:
        """Whether the actor has the permission."""
        return permission in self.rights

    def require(self, permission: Permission) -> None:
        """Raise unless the permission is there.

        Raises:
            ForbiddenError: it is not.
        """
        if not self.can(permission):
            raise ForbiddenError(permission=permission.value)
