"""The API's gate. Imported by the framework while it loads, so it imports little itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from typing_extensions import override

from accounts.actors import Actor
from accounts.roles import Permission
from studio.core.errors import ForbiddenError, UnauthenticatedError

if TYPE_CHECKING:
    from rest_framework.views import APIView


# Declared instead of a permission where every live token is let in: it learns of itself alone.
ANY_TOKEN = None


class DeclaredPermission(BasePermission):
    """API views name one permission per method in `permissions`; no name, no entry."""

    @override
    def has_permission(self, request: Request, view: APIView) -> bool:
        """Check what the token may do at all; in which workspace is checked with the object.

        Raises:
            UnauthenticatedError: no token.
            ForbiddenError: neither its role nor a grant carries the permission.
        """
        permissions: Mapping[str, Permission | None] = getattr(view, "permissions", {})
        method = request.method or ""
        if method not in permissions:
            if method == "OPTIONS":
                return True
            raise MethodNotAllowed(method)
        if not isinstance(request.auth, Actor):
            raise UnauthenticatedError
        permission = permissions[method]
        if permission is ANY_TOKEN:
            return True
        may_somewhere = getattr(view, "may_somewhere", None)
        if not request.auth.can(permission) and not (may_somewhere and may_somewhere(permission)):
            raise ForbiddenError(permission=permission.value)
        return True
