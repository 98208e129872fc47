"""The security page: password, second factor, passkeys, recovery codes, sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from allauth.mfa.models import Authenticator
from allauth.usersessions.internal.flows.sessions import end_other_sessions, end_sessions
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from accounts.addresses import client_address
from accounts.devices import describe_device, is_phone
from accounts.http import AFTER_SESSION_KEY, signed_in
from accounts.models import Organization, User
from accounts.policy import Ways, reachable_organizations, ways_of
from accounts.second_factor import can_use_passkeys, has_second_factor
from accounts.services.audit import record_person
from studio.core.errors import NotFoundError


@require_http_methods(["GET", "POST"])
@signed_in
def security(request: HttpRequest) -> HttpResponse:
    """Show how the account is guarded; end a session, or all others."""
    user = request.user
    assert isinstance(user, User)  # noqa: S101  # `signed_in` has seen to it
    ways = ways_of(request.session, user.pk)
    if request.method == "POST":
        return _end(request, user, ways)
    context = {
        "section": "security",
        "account_email": user.email,
        "has_password": user.has_usable_password(),
        "has_second_factor": has_second_factor(user.pk),
        "sessions": [_session(row) for row in _sessions_of(user, ways)],
        "required_by": _required_by(request, user),
        "is_local": ways.is_local,
        "can_use_passkeys": can_use_passkeys(request),
        "passkey_address": _passkey_address(),
        **_factors(user),
    }
    response = render(request, "accounts/security.html", context)
    response["Cache-Control"] = "no-store"
    return response


@require_http_methods(["GET"])
@signed_in
def go_on(request: HttpRequest) -> HttpResponse:
    """Back to where the person was going before a second factor was asked for."""
    address = request.session.pop(AFTER_SESSION_KEY, "/")
    is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return redirect(address if is_ours else "/")


def _end(request: HttpRequest, user: User, ways: Ways) -> HttpResponse:
    if request.POST.get("action") == "end_others":
        if ways.is_local:
            end_other_sessions(request, user)
        else:
            others = [row for row in _sessions_of(user, ways) if not row.is_current()]
            end_sessions(request, others)
        record_person(user.pk, "session.closed", address=client_address(request))
        messages.success(request, "All other sessions have ended.")
        return redirect("security")
    chosen = request.POST.get("session", "")
    row = next((row for row in _sessions_of(user, ways) if str(row.pk) == chosen), None)
    if row is None:
        raise NotFoundError(noun="session")
    end_sessions(request, [row])
    record_person(user.pk, "session.closed", address=client_address(request))
    messages.success(request, "That session has ended.")
    return redirect("security")


def _factors(user: User) -> Mapping[str, Any]:
    rows = list(Authenticator.objects.filter(user=user).order_by("created_at"))
    by_type = {row.type: row for row in rows}
    codes = by_type.get(Authenticator.Type.RECOVERY_CODES)
    passkeys = [row for row in rows if row.type == Authenticator.Type.WEBAUTHN]
    return {
        "totp": by_type.get(Authenticator.Type.TOTP),
        "passkeys": [{"row": row, "key": row.wrap()} for row in passkeys],
        "has_codes": codes is not None,
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else 0,
    }


def _sessions_of(user: User, ways: Ways) -> list[UserSession]:
    """The person's sessions; one that an identity provider opened is shown its own kind alone."""
    rows = UserSession.objects.purge_and_list(user)
    if not ways.is_local:
        rows = [row for row in rows if _ways_of_row(row, user) == ways]
    return sorted(rows, key=lambda row: (not row.is_current(), -row.last_seen_at.timestamp()))


def _ways_of_row(row: UserSession, user: User) -> Ways:
    return ways_of(SessionStore(row.session_key), user.pk)


def _session(row: UserSession) -> Mapping[str, Any]:
    return {
        "id": row.pk,
        "device": describe_device(row.user_agent),
        "is_phone": is_phone(row.user_agent),
        "address": row.ip,
        "last_seen_at": row.last_seen_at,
        "created_at": row.created_at,
        "is_current": row.is_current(),
    }


def _required_by(request: HttpRequest, user: User) -> list[str]:
    mine = Organization.objects.filter(memberships__user=user, requires_second_factor=True)
    among = reachable_organizations(request.session, user.pk)
    if among is not None:
        mine = mine.filter(pk__in=among)
    return list(mine.order_by("name").values_list("name", flat=True))


def _passkey_address() -> str:
    """On one machine the browser must call it by name: passkeys are not made at an IP address."""
    parts = urlsplit(settings.STUDIO_URL)
    if parts.hostname in settings.LOOPBACK:
        return f"http://localhost:{parts.port or 80}/settings/security"
    return settings.STUDIO_URL.rstrip("/") + "/settings/security"
