"""How every route says who may use it. A route that says nothing fails a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from accounts import policy
from accounts.models import Organization
from accounts.roles import Permission
from studio.core.errors import SessionExpiredError, UnauthenticatedError
from studio.core.problems import wants_json

# Where somebody was going who had to add a second factor first.
AFTER_SESSION_KEY = "after_second_factor"
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


def wants_sentence(request: HttpRequest) -> bool:
    """Whether to answer with an error: who is led elsewhere could not come back to do this."""
    return bool(wants_json(request) or request.headers.get("HX-Request") or request.method != "GET")


def sign_in_first(request: HttpRequest) -> HttpResponseBase:
    """Scripts get a 401 problem; people go to the sign-in page and come back."""
    if wants_sentence(request):
        raise UnauthenticatedError
    return redirect_to_login(request.get_full_path())


def enforce(request: HttpRequest, organization: Organization) -> HttpResponseBase | None:
    """Call it where a page enters an organization, after membership was checked.

    None: go on. Else the answer: to sign in, or to the security page; both lead back here.

    Raises:
        SessionExpiredError, SecondFactorRequiredError: to a script, or instead of a change.
    """
    breach = policy.session_breach(
        organization, request.session, str(request.user.pk), now=time.time()
    )
    if breach is None:
        return None
    address = request.get_full_path()
    is_expired = isinstance(breach, SessionExpiredError)
    if is_expired:
        logout(request)
    if wants_sentence(request):
        raise breach
    messages.warning(request, breach.message)
    if is_expired:
        return redirect_to_login(address)
    request.session[AFTER_SESSION_KEY] = address
    return redirect("security")


def signed_in(view: View) -> View:
    """Anyone who is signed in; the view shows them their own things only."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return sign_in_first(request)
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer

    return declare(wrapper, Access(kind="signed_in"))  # type: ignore[return-value]  # same signature as `view`
