"""What the API's views have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView
from typing_extensions import override

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.throttling import count_request, of_address, of_sender
from studio.core.errors import UnauthenticatedError
from studio.core.scoping import organization_scope
from workspaces.access import can_somewhere


class OrganizationView(APIView):
    """An API view that runs inside the scope of its token's organization."""

    permissions: dict[str, Permission | None] = {}
    throttle_classes = []  # requests are counted below: those that are refused, too

    @property
    def actor(self) -> Actor:
        """Who asks; `DeclaredPermission` has made sure there is somebody."""
        actor = self.request.auth
        if not isinstance(actor, Actor):
            raise UnauthenticatedError
        return actor

    def may_somewhere(self, permission: Permission) -> bool:
        """Whether a grant in some workspace gives what the role does not."""
        with organization_scope(self.actor.organization_id):
            return can_somewhere(self.actor, permission)

    @override
    def perform_authentication(self, request: Request) -> None:
        """Count the request as soon as it is known whose it is, or that it is nobody's."""
        try:
            super().perform_authentication(request)
        except UnauthenticatedError:
            count_request(of_address(request))
            raise
        count_request(of_sender(request))

    @override
    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # DRF's signature
        super().initial(request, *args, **kwargs)
        method = (request.method or "").lower()
        handler = getattr(self, method, None)
        if handler is not None and isinstance(request.auth, Actor):
            setattr(self, method, _scoped(handler, request.auth.organization_id))


def _scoped(handler: Callable[..., Any], organization_id: str) -> Callable[..., Any]:
    @wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # passes through
        with organization_scope(organization_id):
            return handler(*args, **kwargs)

    return run
