"""What the pages of tokens do, for one's own and for a service account's alike."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken
from accounts.roles import GRANTED, Permissions, WorkspaceRole
from accounts.services.tokens import (
    create_token,
    is_live,
    revoke_token,
    rotate_token,
    tokens_of,
)
from accounts.token_forms import TokenForm
from accounts.token_scopes import scopes_in_words
from studio.core.errors import ConflictError, InvalidInputError, NotFoundError
from workspaces.access import grants_of, visible_workspaces

SOON = timedelta(days=7)
_CLOSED = "one that is not open to it"
_FORM_KEPT_SECONDS = 24 * 3600
_SENT_TWICE = (
    "This form was sent twice; the token of the first time is in the list. Its text was shown "
    "once: if you have not copied it, rotate that token."
)
# What services call a field, and what the form does.
_FIELDS: Mapping[str, str] = MappingProxyType({"expires_at": "expires_on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Whose tokens are managed (`owner`), by whom (`actor`), and at which address."""

    actor: Actor
    owner: Actor
    address: str
    template: str

    @property
    def user_id(self) -> str:
        """As services want it: empty for one's own."""
        return "" if self.owner.user_id == self.actor.user_id else self.owner.user_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the page shows beside its list: a new token's text, or what was wrong."""

    form: TokenForm
    status: int = 200
    plain: str = ""
    token: ApiToken | None = None
    replaced: ApiToken | None = None
    problem: str = ""


def attend(request: HttpRequest, desk: Desk, context: Mapping[str, Any]) -> HttpResponse:
    """The page; or what was asked for is done and the page shows it."""
    workspaces = [(w.pk, w.name) for w in visible_workspaces(desk.owner)]
    answer = Answer(form=_form(desk, workspaces))
    if request.method == "POST":
        action = request.POST.get("action", "")
        if action == "revoke":
            revoke_token(actor=desk.actor, token_id=_token_id(request, desk))
            messages.success(request, "Revoked. It opens nothing any more.")
            return redirect(desk.address)
        if action == "rotate":
            answer = _rotate(request, desk, answer)
        elif action == "create":
            answer = _create(request, desk, _form(desk, workspaces, request.POST), answer)
    response = render(
        request,
        desk.template,
        {
            **context,
            "form": answer.form,
            "once": secrets.token_urlsafe(12),
            "reveal": answer if answer.plain else None,
            "problem": answer.problem,
            "is_own": not desk.user_id,
            "here": desk.address,
            "tokens": _rows(desk, dict(workspaces)),
        },
        status=answer.status,
    )
    response["Cache-Control"] = "no-store"
    return response


def rights_somewhere(actor: Actor) -> Permissions:
    """What the actor may in some workspace at least."""
    roles = grants_of(actor).values_list("role", flat=True)
    return actor.rights.union(*(GRANTED[WorkspaceRole(role)] for role in roles))


def _form(desk: Desk, workspaces: list[tuple[str, str]], data: object = None) -> TokenForm:
    return TokenForm(data, rights=rights_somewhere(desk.owner), workspaces=workspaces)


def _create(request: HttpRequest, desk: Desk, form: TokenForm, blank: Answer) -> Answer:
    if not form.is_valid():
        return Answer(form=form, status=422)
    if not _is_first(request):
        return Answer(form=form, status=409, problem=_SENT_TWICE)
    try:
        token, plain = create_token(
            actor=desk.actor,
            name=form.cleaned_data["name"],
            limits=form.limits(),
            user_id=desk.user_id,
        )
    except InvalidInputError as error:
        for problem in error.problems:
            field = _FIELDS.get(problem.field, problem.field)
            form.add_error(field if field in form.fields else None, problem.message)
        return Answer(form=form, status=422)
    return replace(blank, plain=plain, token=token)


def _is_first(request: HttpRequest) -> bool:
    """Whether this very form was not sent before: a second press must not make a second token."""
    once = request.POST.get("once", "")
    if not once:
        return True
    key = f"token-form:{request.user.pk}:{once[:32]}"
    return cache.add(key, 1, _FORM_KEPT_SECONDS)


def _rotate(request: HttpRequest, desk: Desk, blank: Answer) -> Answer:
    token_id = _token_id(request, desk)
    try:
        token, plain = rotate_token(actor=desk.actor, token_id=token_id)
    except ConflictError as error:
        return replace(blank, status=409, problem=error.message)
    replaced = ApiToken.objects.get(pk=token_id)
    return replace(blank, plain=plain, token=token, replaced=replaced)


def _token_id(request: HttpRequest, desk: Desk) -> str:
    """The token that a button names; it must be one of this page's."""
    token_id = request.POST.get("token", "")
    owned = ApiToken.objects.filter(
        pk=token_id, user_id=desk.owner.user_id, organization_id=desk.owner.organization_id
    )
    if not owned.exists():
        raise NotFoundError(noun="token")
    return token_id


def _rows(desk: Desk, names: Mapping[str, str]) -> list[dict[str, Any]]:
    now = timezone.now()
    return [
        {
            "token": token,
            "is_live": is_live(token, now),
            "is_revoked": token.revoked_at is not None,
            "is_replaced": token.successor_id is not None,
            "is_soon": token.expires_at is not None and token.expires_at - now < SOON,
            "expires_in": token.expires_at and in_words(token.expires_at - now),
            "scopes": _scopes(desk, token),
            "workspaces": [names.get(pk, _CLOSED) for pk in token.workspace_ids],
        }
        for token in tokens_of(desk.owner.user_id, desk.owner.organization_id)
    ]


def _scopes(desk: Desk, token: ApiToken) -> str:
    if token.scopes is None and not desk.user_id:
        return "Everything I may"
    return scopes_in_words(token.scopes)


def in_words(left: timedelta) -> str:
    """`in 3 days`: how long until something ends, to the nearest unit."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if left.total_seconds() >= length:
            count = round(left.total_seconds() / length)
            return f"in {count} {unit}{'' if count == 1 else 's'}"
    return "in less than a minute"
