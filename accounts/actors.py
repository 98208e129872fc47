"""The Actor: who is asking, where, with which rights. What edges pass to services."""

from __future__ import annotations

from dataclasses import dataclass, replace

from accounts.roles import (
    OPERATOR_RIGHTS,
    ROLE_PERMISSIONS,
    WITHIN_WORKSPACES,
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

        Who is limited to some workspaces keeps nothing that would reach beyond them.
        """
        program = replace(
            self,
            token_id=token_id,
            scopes=scopes,
            workspace_ids=workspace_ids,
            requests_per_minute=requests_per_minute,
        )
        return replace(program, rights=program._kept(self.rights))

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
        return replace(self, rights=self._kept(rights), workspace_id=workspace_id)

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

    def _kept(self, rights: Permissions) -> Permissions:
        """What the token's limits leave of the rights."""
        if self.scopes is not None:
            rights = rights & self.scopes
        return rights & WITHIN_WORKSPACES if self.workspace_ids else rights
