"""The Actor: who is asking, in which organization, with which role. What edges pass to services."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.roles import Permission, Role, is_allowed
from studio.core.errors import ForbiddenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A user acting in one organization, in the browser or through a token."""

    user_id: str
    organization_id: str
    role: Role
    token_id: str = ""

    def can(self, permission: Permission) -> bool:
        """Whether the actor's role carries the permission."""
        return is_allowed(self.role, permission)

    def require(self, permission: Permission) -> None:
        """Raise unless the permission is there.

        Raises:
            ForbiddenError: it is not.
        """
        if not self.can(permission):
            raise ForbiddenError(permission=permission.value)
