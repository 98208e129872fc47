"""The API's gate. Imported by the framework while it loads, so it imports little itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from typing_extensions import override

from accounts.actors import Actor
from accounts.roles import Permission
from studio.core.errors import UnauthenticatedError

if TYPE_CHECKING:
    from rest_framework.views import APIView


class DeclaredPermission(BasePermission):
    """API views name one permission per method in `permissions`; no name, no entry."""

    @override
    def has_permission(self, request: Request, view: APIView) -> bool:
        """Check the token's role.

        Raises:
            UnauthenticatedError: no token.
            ForbiddenError: the role does not carry the permission.
        """
        permission: Permission | None = getattr(view, "permissions", {}).get(request.method)
        if permission is None:
            if request.method == "OPTIONS":
                return True
            raise MethodNotAllowed(request.method or "")
        if not isinstance(request.auth, Actor):
            raise UnauthenticatedError
        request.auth.require(permission)
        return True
