"""The page where people make and revoke their API tokens."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.http import enforce, signed_in
from accounts.models import ApiToken
from accounts.policy import reachable_organizations
from accounts.roles import Permission
from accounts.selectors import find_actor
from accounts.services.tokens import create_token, revoke_token
from studio.core.errors import NotFoundError
from studio.core.scoping import organization_scope
from workspaces.access import get_workspace
from workspaces.http import actor_in
from workspaces.models import Workspace
from workspaces.selectors import workspaces_of

TOKEN = Permission.TOKEN_MANAGE_OWN


class TokenForm(forms.Form):
    """A token's name and the workspace whose organization it acts in."""

    name = forms.CharField(max_length=80, error_messages={"required": "Give the token a name."})
    workspace = forms.CharField(required=False)


@require_http_methods(["GET", "POST"])
@signed_in
def tokens(request: HttpRequest) -> HttpResponse:
    """List; make one (its text is shown once, in this answer only); revoke."""
    user_id = str(request.user.pk)
    among = reachable_organizations(request.session, user_id)
    workspaces = workspaces_of(user_id, among=among)
    form, plain = TokenForm(request.POST if request.POST.get("action") == "create" else None), None
    if request.POST.get("action") == "revoke":
        _revoke(user_id, request.POST.get("token", ""), among)
        return redirect("tokens")
    if form.is_bound and form.is_valid():
        plain = _create(request, form.cleaned_data, workspaces)
        form = TokenForm()
    context = {
        "tokens": [_row(token) for token in _tokens_of(user_id, among)],
        "new_token": plain,
        "form": form,
        "workspaces": workspaces,
        "workspace": workspaces[0] if workspaces else None,
        "organization": workspaces[0].organization if workspaces else None,
        "account_email": str(getattr(request.user, "email", "")),
    }
    status = 422 if form.is_bound and form.errors else 200
    response = render(request, "jobs/tokens.html", context, status=status)
    response["Cache-Control"] = "no-store"
    return response


def _tokens_of(user_id: str, among: frozenset[str] | None) -> list[ApiToken]:
    return list(_own(user_id, among).order_by("-created_at")[:100])


def _own(user_id: str, among: frozenset[str] | None) -> QuerySet[ApiToken]:
    """Those of the organizations that the session may enter."""
    tokens = ApiToken.objects.filter(user_id=user_id)
    return tokens if among is None else tokens.filter(organization_id__in=among)


def _row(token: ApiToken) -> dict[str, Any]:
    is_expired = token.expires_at is not None and token.expires_at <= timezone.now()
    return {
        "id": token.pk,
        "name": token.name,
        "prefix": token.prefix,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "expires_at": token.expires_at,
        "is_revoked": token.revoked_at is not None or is_expired,
    }


def _create(request: HttpRequest, values: dict[str, Any], workspaces: list[Workspace]) -> str:
    chosen = values["workspace"] or (workspaces[0].pk if workspaces else "")
    actor = actor_in(str(request.user.pk), chosen)
    with organization_scope(actor.organization_id):
        # A token outlives the session: who may not enter any more makes none.
        enforce(request, get_workspace(actor, chosen, permission=TOKEN).organization)
        _token, plain = create_token(actor=actor, name=values["name"])
    return plain


def _revoke(user_id: str, token_id: str, among: frozenset[str] | None) -> None:
    token = _own(user_id, among).filter(pk=token_id).first()
    if token is None:
        raise NotFoundError(noun="token")
    actor = find_actor(user_id, token.organization_id)
    if actor is None:
        raise NotFoundError(noun="token")
    with organization_scope(actor.organization_id):
        revoke_token(actor=actor, token_id=token_id)
