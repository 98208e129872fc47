"""How every route says who may use it. A route that says nothing fails a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.actors import Actor
from accounts.roles import Permission
from studio.core.errors import UnauthenticatedError
from studio.core.problems import wants_json
from studio.core.scoping import organization_scope

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """What a route declares: a permission, or the reason why it needs none."""

    kind: str
    permission: Permission | None = None
    reason: str = ""


def declare(view: View, access: Access) -> View:
    """Attach the declaration for the test that walks all routes."""
    view.declared_access = access  # type: ignore[attr-defined]  # a mark on a function
    return view


def public(reason: str) -> Callable[[View], View]:
    """No sign-in needed, for this reason."""
    return lambda view: declare(view, Access(kind="public", reason=reason))


def sign_in_first(request: HttpRequest) -> HttpResponseBase:
    """Scripts get a 401 problem; people go to the sign-in page and come back."""
    if wants_json(request) or request.headers.get("HX-Request") or request.method != "GET":
        raise UnauthenticatedError
    return redirect_to_login(request.get_full_path())


def signed_in(view: View) -> View:
    """Anyone who is signed in; the view shows them their own things only."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return sign_in_first(request)
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer

    return declare(wrapper, Access(kind="signed_in"))  # type: ignore[return-value]  # same signature as `view`


class DeclaredPermission(BasePermission):
    """API views name one permission per method in `permissions`; no name, no entry."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Check the token's role.

        Raises:
            UnauthenticatedError: no token.
            ForbiddenError: the role does not carry the permission.
        """
        permission: Permission | None = getattr(view, "permissions", {}).get(request.method)
        if permission is None:
            return request.method == "OPTIONS"
        if not isinstance(request.auth, Actor):
            raise UnauthenticatedError
        request.auth.require(permission)
        return True


class TenantView(APIView):
    """An API view that runs inside the scope of its token's organization."""

    permissions: dict[str, Permission] = {}

    @property
    def actor(self) -> Actor:
        """Who asks; `DeclaredPermission` has made sure there is somebody."""
        actor = self.request.auth
        if not isinstance(actor, Actor):
            raise UnauthenticatedError
        return actor

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # DRF's signature
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
