"""How every route says who may use it. A route that says nothing fails a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from django.contrib import messages
from django.contrib.auth import get_user, logout
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from accounts import policy
from accounts.actors import Actor
from accounts.addresses import client_address
from accounts.models import Organization
from accounts.roles import Permission, Role
from accounts.selectors import find_actor
from accounts.services.audit import record_event
from studio.core.errors import (
    NotFoundError,
    SessionExpiredError,
    SignOnElsewhereError,
    SignOnEndedError,
    SignOnRequiredError,
    StudioError,
    UnauthenticatedError,
)
from studio.core.problems import wants_json
from studio.core.scoping import organization_scope

# Where somebody was going who had to add a second factor first.
AFTER_SESSION_KEY = "after_second_factor"
# Organizations that an owner has entered past their single sign-on: written down once a session.
BYPASSED_SESSION_KEY = "bypassed_sign_on"
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


def find_member(request: HttpRequest, organization_id: str) -> Actor | None:
    """Who is signed in, as a member of the organization and by what brought the session."""
    user_id = str(request.user.pk)
    actor = find_actor(user_id, organization_id, address=client_address(request))
    is_local = policy.ways_of(request.session, user_id).is_local
    return actor if actor is None or is_local else actor.by_provider()


class OrganizationRequest(HttpRequest):
    """A request whose organization and actor are known and allowed."""

    actor: Actor
    organization: Organization


def organization_page(permission: Permission) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A view under `/o/<organization_id>/` that needs the permission there."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(
            request: OrganizationRequest, organization_id: str, *args: object, **kwargs: object
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return sign_in_first(request)
            actor = find_member(request, organization_id)
            if actor is None:
                raise NotFoundError(noun="organization")
            request.organization = Organization.objects.get(pk=organization_id)
            request.actor = actor
            with organization_scope(organization_id):
                actor.require(permission)
                refusal = enforce(request, request.organization)
                if refusal is not None:
                    return refusal
                answer: HttpResponseBase = view(request, *args, **kwargs)
                answer.headers.setdefault("Cache-Control", "no-store")
                return answer

        return declare(wrapper, Access(kind="organization", permission=permission))

    return decorate


@dataclass(frozen=True, slots=True)
class LargeBody:
    """A route that may be sent more than most; `admits` says by whom, before a byte is read.

    `max_bytes` is for the thing itself; a form around it may have as much as any other body.
    """

    max_bytes: int
    admits: Callable[[HttpRequest], bool]


def takes_large_body(
    max_bytes: int, *, admits: Callable[[HttpRequest], bool]
) -> Callable[[View], View]:
    """Let a route (a view, or a class of the API) be sent a large body."""

    def decorate(view: View) -> View:
        view.large_body = LargeBody(max_bytes, admits)  # type: ignore[attr-defined]  # a mark on a function
        return view

    return decorate


def has_session(request: HttpRequest) -> bool:
    """Whether a request that no middleware has seen comes from somebody who is signed in."""
    SessionMiddleware(_nothing).process_request(request)
    return get_user(request).is_authenticated


def _nothing(request: HttpRequest) -> HttpResponseBase:
    raise AssertionError("unreachable")


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
        SessionExpiredError, SecondFactorRequiredError, SignOnRequiredError, SignOnEndedError: to a
            script, or instead of a change.
        SignOnElsewhereError: this session is another organization's.
    """
    breach = policy.session_breach(
        organization, request.session, str(request.user.pk), now=time.time()
    )
    if breach is None:
        _note_bypass(request, organization)
        return None
    address = request.get_full_path()
    is_expired = isinstance(breach, SessionExpiredError | SignOnEndedError)
    if is_expired:
        logout(request)
    if wants_sentence(request) or isinstance(breach, SignOnElsewhereError):
        raise breach
    if isinstance(breach, SignOnRequiredError):
        start = reverse("sign-on-start", args=[breach.data["provider_id"]])
        return redirect(f"{start}?{urlencode({'next': address})}")
    if is_expired:
        return sign_in_again(request, breach)
    messages.warning(request, breach.message)
    request.session[AFTER_SESSION_KEY] = address
    return redirect("security")


def sign_in_again(request: HttpRequest, why: StudioError) -> HttpResponseRedirect:
    """End a session that opens nothing any more, say so, and come back here."""
    logout(request)
    messages.warning(request, why.message)
    return redirect_to_login(request.get_full_path())


def _note_bypass(request: HttpRequest, organization: Organization) -> None:
    """An owner who comes in past the single sign-on that others must use is written down."""
    user_id = str(request.user.pk)
    noted = request.session.get(BYPASSED_SESSION_KEY, [])
    if not organization.requires_sign_on or organization.pk in noted:
        return
    if policy.came_by_provider(organization, request.session, user_id):
        return
    if policy.required_provider(organization, user_id) is None:
        return
    request.session[BYPASSED_SESSION_KEY] = [*noted, organization.pk]
    actor = Actor.of(user_id, organization.pk, Role.OWNER, address=client_address(request))
    with organization_scope(organization.pk):
        record_event(actor, "sign_on.bypassed", organization.pk)


def signed_in(view: View) -> View:
    """Anyone who is signed in; the view shows them their own things only."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return sign_in_first(request)
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer

    return declare(wrapper, Access(kind="signed_in"))  # type: ignore[return-value]  # same signature as `view`
