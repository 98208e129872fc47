"""The page behind an invitation's link."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.addresses import client_address
from accounts.forms import add_problems
from accounts.http import public
from accounts.models import Invitation, User
from accounts.people_forms import JoinForm
from accounts.role_words import with_article
from accounts.selectors import find_actor
from accounts.services.joining import accept, accept_as_new, find_invited, read_invitation
from studio.core.errors import InvalidInputError, InvitationEndedError, StudioError
from studio.core.scoping import organization_scope
from workspaces.access import visible_workspaces


@require_http_methods(["GET", "POST"])
@never_cache
@public("whoever has the link from the letter may read what it invites to")
def join(request: HttpRequest) -> HttpResponseBase:
    """Say who invites whom into what, and let them in. A dead link says the same to everybody."""
    plain = request.GET.get("key", "")[:200]
    user = request.user if isinstance(request.user, User) else None
    try:
        invitation = read_invitation(plain, user=user)
        if invitation.accepted_at is not None:
            return redirect(_destination(invitation, str(user and user.pk)))
        if request.method == "POST":
            return _accept(request, plain, invitation, user)
    except InvitationEndedError as error:
        context = {"message": error.message, "is_signed_in": user is not None}
        return render(request, "accounts/join_ended.html", context, status=error.status)
    return _page(request, invitation, user)


def _accept(
    request: HttpRequest, plain: str, invitation: Invitation, user: User | None
) -> HttpResponseBase:
    address = client_address(request)
    if user is not None:
        try:
            accept(plain=plain, user=user, address=address)
        except InvitationEndedError:
            raise
        except StudioError as error:
            return _page(request, invitation, user, status=error.status)
        return redirect(_destination(invitation, user.pk))
    form = JoinForm(request.POST)
    if not form.is_valid():
        return _page(request, invitation, user, form=form, status=422)
    values = form.cleaned_data
    try:
        _invitation, made = accept_as_new(
            plain=plain, name=values["name"], password=values["password"], address=address
        )
    except InvitationEndedError:
        raise
    except InvalidInputError as error:
        add_problems(form, error)
        return _page(request, invitation, user, form=form, status=error.status)
    except StudioError as error:  # the address has got an account meanwhile
        return _page(request, invitation, user, status=error.status)
    login = Login(user=made, redirect_url=_destination(invitation, made.pk), email=made.email)
    answer: HttpResponse = perform_password_login(request, {"email": made.email}, login)
    return answer


def _destination(invitation: Invitation, user_id: str) -> str:
    """The first room that the new member can look into; the members' page if there is none."""
    organization_id = invitation.organization_id
    actor = find_actor(user_id, organization_id)
    with organization_scope(organization_id):
        first = visible_workspaces(actor).first() if actor else None
    if first is None:
        return reverse("members", args=[organization_id])
    return f"/w/{first.pk}/"


def _page(
    request: HttpRequest,
    invitation: Invitation,
    user: User | None,
    *,
    form: JoinForm | None = None,
    status: int = 200,
) -> HttpResponse:
    here = request.get_full_path()
    is_own = invitation.invited_by.email == invitation.email
    context: dict[str, Any] = {
        "organization_name": invitation.organization.name,
        "inviter": "" if is_own else invitation.invited_by.shown_name,
        "role": with_article(invitation.role),
        "team": invitation.team and invitation.team.name,
        "email": invitation.email,
        "expires_at": invitation.expires_at,
        "here": here,
        "sign_in": f"{reverse('account_login')}?{urlencode({'next': here})}",
        "form": form or JoinForm(),
        "signed_in_as": user and user.email,
    }
    if user is not None:
        context["state"] = "accept" if user.email == invitation.email else "somebody_else"
    else:
        context["state"] = "sign_in" if find_invited(invitation) else "new"
    return render(request, "accounts/join.html", context, status=status)
