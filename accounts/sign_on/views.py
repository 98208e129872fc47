"""Signing in by an identity provider: there and back.

The way there is a link, not a form: the pages' policy lets forms lead to the studio only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import (
    clear_authentication_records,
    get_authentication_records,
    record_authentication,
)
from allauth.account.utils import perform_login
from allauth.core.internal.ratelimit import consume_or_429
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.adapter import SIGN_ON_CONNECTED
from accounts.addresses import client_address
from accounts.confirming import require_confirmed
from accounts.http import public, signed_in
from accounts.models import IdentityProvider, IdentityProviderKind, User
from accounts.policy import SIGN_ON, ways_of
from accounts.second_factor import has_second_factor
from accounts.services.admission import admit, connect, find_identity
from accounts.sign_on import oidc, saml
from accounts.sign_on.providers import Claims, find_provider
from accounts.sign_on.remembered import remember, remembered
from studio.core.errors import NotFoundError, SignOnFailedError, StudioError

PENDING = "sign_on_pending"
PENDING_SECONDS = 600
# A whole company may come through one address on a Monday morning.
RATES = {"sign_on": "600/m/ip"}
View = Callable[..., HttpResponseBase]


def _explained(view: View) -> View:
    """What goes wrong on the way is said on a page of the entrance, with a way to begin again."""

    @wraps(view)
    def wrapper(request: HttpRequest, provider_id: str) -> HttpResponseBase:
        slow_down: HttpResponseBase | None = consume_or_429(
            request, app="accounts", action="sign_on", config=RATES, limit_get=True
        )
        if slow_down is not None:
            return slow_down
        try:
            return view(request, provider_id)
        except (SignOnFailedError, NotFoundError) as error:
            return _refused(request, error, provider_id)

    return wrapper


def _refused(request: HttpRequest, error: StudioError, provider_id: str) -> HttpResponse:
    is_known = isinstance(error, SignOnFailedError)
    context = {"sentence": error.message, "provider_id": provider_id if is_known else ""}
    return render(request, "sso/refused.html", context, status=error.status)


@never_cache
@public("asks for the code of a company's sign-on; codes cannot be guessed")
@require_http_methods(["GET", "POST"])
def find(request: HttpRequest) -> HttpResponse:
    """For people who have the code, or the whole address, from their admin."""
    typed = request.POST.get("code", "").strip()
    code = typed.rstrip("/").rpartition("/")[2]
    found, problem = remembered(request), ""
    if request.method == "POST":
        try:
            found = find_provider(code)
        except NotFoundError:
            found = None
            problem = "There is no company sign-on with this code. Compare it, letter by letter."
    context = {"found": found, "problem": problem, "typed": typed}
    return render(request, "sso/find.html", context, status=422 if problem else 200)


@never_cache
@public("leads to the identity provider; who comes back is proved by it")
@require_GET
@_explained
def start(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """On to the provider, which leads back to `callback` or `acs`."""
    row = find_provider(provider_id)
    next_path = own_path(request.GET.get("next", ""))
    speaks = oidc if row.kind == IdentityProviderKind.OIDC.value else saml
    return HttpResponseRedirect(speaks.begin(request, row, next_path))


@never_cache
@public("the provider's answer: its state, nonce and signature are the proof")
@require_GET
@_explained
def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from an OpenID provider."""
    row = _provider(provider_id, IdentityProviderKind.OIDC)
    claims, next_path = oidc.finish(request, row)
    return _let_in(request, row, claims, next_path)


@csrf_exempt  # another site's form; the signature within it is the proof
@never_cache
@public("the provider's answer: its signature is the proof, and the session that it came to")
@require_POST
@_explained
def acs(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from a SAML provider, without our session."""
    row = _provider(provider_id, IdentityProviderKind.SAML)
    response = redirect("sign-on-finish", row.pk)
    saml.receive(request, row, response)
    return response


@never_cache
@public("goes on with an answer that was proved a moment ago")
@require_GET
@_explained
def finish(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Back from a SAML provider, with our session."""
    row = _provider(provider_id, IdentityProviderKind.SAML)
    claims, next_path = saml.finish(request, row)
    response = _let_in(request, row, claims, next_path)
    response.delete_cookie(saml.TICKET, path=f"/sso/{row.pk}/")
    return response


@public("what a SAML provider must know of us: two addresses")
@require_GET
def metadata(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Our side of the SAML connection."""
    row = _provider(provider_id, IdentityProviderKind.SAML)
    return HttpResponse(saml.metadata(row), content_type="application/samlmetadata+xml")


@never_cache
@require_http_methods(["GET", "POST"])
@signed_in
def connect_account(request: HttpRequest) -> HttpResponseBase:
    """Ask the signed-in person whether the sign-on that they came back from is to be theirs."""
    user, pending = request.user, request.session.get(PENDING) or {}
    assert isinstance(user, User)  # noqa: S101  # `signed_in` has seen to it
    is_fresh = time.time() - pending.get("at", 0) <= PENDING_SECONDS
    if not is_fresh or pending.get("user") != user.pk or not _is_local(request):
        return redirect("home")
    require_confirmed(request)  # it is one more way into the account, as a passkey is
    row = find_provider(pending["provider"])
    claims = Claims(**{**pending["claims"], "values": tuple(pending["claims"]["values"])})
    if request.method == "GET":
        context = {"provider": row, "claims": claims, "email": user.email}
        return render(request, "sso/connect.html", context)
    del request.session[PENDING]
    if request.POST.get("action") != "connect":
        return redirect("home")
    try:
        connect(row, claims, user, address=client_address(request))
    except SignOnFailedError as error:
        return _refused(request, error, row.pk)
    record_authentication(request, user, SIGN_ON, provider=row.pk, uid=claims.subject)
    get_adapter(request).send_notification_mail(SIGN_ON_CONNECTED, user)
    messages.success(request, f"From now on {row.name} signs you in to {row.organization.name}.")
    return remember(HttpResponseRedirect(pending["next"]), row)


def own_path(address: str) -> str:
    """A page of the studio to go on to; anything else is the first page."""
    is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return address if is_ours and address.startswith("/") else "/"


def _provider(provider_id: str, kind: IdentityProviderKind) -> IdentityProvider:
    row = find_provider(provider_id)
    if row.kind != kind.value:
        raise NotFoundError(noun="single sign-on")
    return row


def _is_local(request: HttpRequest) -> bool:
    return request.user.is_authenticated and ways_of(request.session, request.user.pk).is_local


def _let_in(
    request: HttpRequest, row: IdentityProvider, claims: Claims, next_path: str
) -> HttpResponseBase:
    """Sign the person in, or first ask who is signed in here whether this is them."""
    if "\x00" in claims.subject + claims.email + claims.name:
        raise SignOnFailedError(why="Your company's sign-on said something that cannot be stored.")
    if _is_local(request) and find_identity(row, claims.subject) is None:
        request.session[PENDING] = {
            "at": time.time(),
            "user": request.user.pk,
            "provider": row.pk,
            "claims": asdict(claims),
            "next": next_path,
        }
        return redirect("sign-on-connect")
    user = admit(row, claims, address=client_address(request))
    if request.user.is_authenticated and request.user.pk == user.pk and _is_enough(request, row):
        request.session.cycle_key()
        record_authentication(request, user, SIGN_ON, provider=row.pk, uid=claims.subject)
        return remember(HttpResponseRedirect(next_path), row)
    logout(request)
    # A password that somebody has typed without its second step must not count for this session.
    clear_authentication_records(request)
    record_authentication(request, user, SIGN_ON, provider=row.pk, uid=claims.subject)
    return remember(_sign_in(request, row, user, next_path), row)


def _is_enough(request: HttpRequest, row: IdentityProvider) -> bool:
    """Whether this session needs no second step for what the provider opens."""
    assert isinstance(request.user, User)  # noqa: S101  # the caller has looked
    if row.covers_second_factor or _is_local(request) or not has_second_factor(request.user.pk):
        return True
    records = get_authentication_records(request, request.user)
    return any(record["method"] == "mfa" for record in records)


def _sign_in(
    request: HttpRequest, row: IdentityProvider, user: User, next_path: str
) -> HttpResponseBase:
    if not row.covers_second_factor:
        answer: HttpResponseBase = perform_login(
            request, user, email_verification="none", redirect_url=next_path
        )
        return answer
    # Past allauth's stages: the only one that we have asks for the second factor.
    adapter: Any = get_adapter(request)
    adapter.login(request, user)
    return HttpResponseRedirect(next_path)
