"""Pages of members and invitations."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts import people
from accounts.forms import add_problems
from accounts.http import OrganizationRequest, organization_page
from accounts.models import Invitation, Membership
from accounts.people_forms import InviteForm
from accounts.presenters import organization_context
from accounts.role_words import choices_for, label_of
from accounts.roles import Permission, Role, may_give
from accounts.services import invitations as letters
from accounts.services.members import change_role
from studio.core.errors import InvalidInputError, NotFoundError, StudioError

SHOWN_MAX = 200
INVITATIONS_SHOWN = 100
SEARCH_MAX = 100


@require_GET
@organization_page(Permission.MEMBER_VIEW)
def members(request: OrganizationRequest) -> HttpResponse:
    """Who belongs to the organization; who is invited, for those who manage that."""
    return _page(request)


@require_POST
@organization_page(Permission.MEMBER_MANAGE)
def member_invite(request: OrganizationRequest) -> HttpResponse:
    """Write letters; what cannot be is said in the form, and then none is written."""
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    offer = letters.Offer(role=form.cleaned_data["role"], team_id=form.cleaned_data["team"])
    try:
        made = letters.invite(actor=request.actor, emails=form.addresses(), offer=offer)
    except InvalidInputError as error:
        add_problems(form, error)
        return _page(request, form=form, status=error.status)
    except StudioError as error:
        form.add_error(None, error.message)
        return _page(request, form=form, status=error.status)
    what = made[0].email if len(made) == 1 else f"{len(made)} people"
    messages.success(request, f"An invitation is on its way to {what}.")
    return redirect("members", request.organization.pk)


@require_POST
@organization_page(Permission.MEMBER_MANAGE)
def member_role(request: OrganizationRequest, user_id: str) -> HttpResponse:
    """Make a member something else."""
    role = request.POST.get("role", "")
    try:
        changed = change_role(actor=request.actor, user_id=user_id, role=role)
    except NotFoundError:
        raise
    except StudioError as error:
        return _page(request, wrong=(user_id, error.message, role), status=error.status)
    if changed:
        name = people.get_member(request.organization.pk, user_id).user.shown_name
        messages.success(request, f"{name} is now {label_of(role)}.")
    return redirect("members", request.organization.pk)


@require_POST
@organization_page(Permission.MEMBER_MANAGE)
def invitation_resend(request: OrganizationRequest, invitation_id: str) -> HttpResponse:
    """Another letter with another link."""
    try:
        invitation = letters.resend(actor=request.actor, invitation_id=invitation_id)
    except NotFoundError:
        raise
    except StudioError as error:
        return _page(request, wrong=(invitation_id, error.message, ""), status=error.status)
    text = f"Another letter is on its way to {invitation.email}. The link before holds no more."
    messages.success(request, text)
    return redirect("members", request.organization.pk)


@require_POST
@organization_page(Permission.MEMBER_MANAGE)
def invitation_link(request: OrganizationRequest, invitation_id: str) -> HttpResponse:
    """Show a link to pass on, in this answer only."""
    try:
        made = letters.make_link(actor=request.actor, invitation_id=invitation_id)
    except NotFoundError:
        raise
    except StudioError as error:
        return _page(request, wrong=(invitation_id, error.message, ""), status=error.status)
    return _page(request, made=made)


@require_POST
@organization_page(Permission.MEMBER_MANAGE)
def invitation_revoke(request: OrganizationRequest, invitation_id: str) -> HttpResponse:
    """End an invitation."""
    try:
        letters.revoke(actor=request.actor, invitation_id=invitation_id)
    except NotFoundError:
        raise
    except StudioError as error:
        return _page(request, wrong=(invitation_id, error.message, ""), status=error.status)
    messages.success(request, "The invitation was revoked. Its link holds no more.")
    return redirect("members", request.organization.pk)


def _page(
    request: OrganizationRequest,
    *,
    form: InviteForm | None = None,
    wrong: tuple[str, str, str] = ("", "", ""),
    made: tuple[Invitation, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page, with what went wrong at the row (its id, the sentence, what was chosen)."""
    search = request.GET.get("q", "").strip()[:SEARCH_MAX].replace("\x00", "")
    found = people.members_of(request.organization.pk, search)
    shown = list(found[:SHOWN_MAX])
    context = {
        **organization_context(request, "members"),
        "form": form or InviteForm(initial={"role": Role.ARTIST.value}),
        "search": search,
        "rows": _rows(request, shown, wrong),
        "total": found.count() if len(shown) == SHOWN_MAX else len(shown),
        "may_manage": request.actor.can(Permission.MEMBER_MANAGE),
    }
    if context["may_manage"]:
        context |= _invitations(request, wrong)
        context |= {"roles": choices_for(request.actor.role), "teams": people.teams_of()}
    context["made"] = made and {"email": made[0].email, "link": made[1]}
    return render(request, "accounts/members.html", context, status=status)


def _rows(
    request: OrganizationRequest, shown: list[Membership], wrong: tuple[str, str, str]
) -> list[dict[str, Any]]:
    actor, teams = request.actor, people.teams_by_member(shown)
    may_manage = actor.can(Permission.MEMBER_MANAGE)
    wrong_id, sentence, chosen = wrong
    return [
        {
            "id": member.user_id,
            "name": member.user.shown_name,
            "email": member.user.email,
            "role": chosen if member.user_id == wrong_id else member.role,
            "role_label": label_of(member.role),
            "teams": teams.get(member.pk, []),
            "since": member.created_at,
            "is_me": member.user_id == actor.user_id,
            "is_active": member.user.is_active,
            "may_change": may_manage and may_give(actor.role, Role(member.role)),
            "error": sentence if member.user_id == wrong_id else "",
        }
        for member in shown
    ]


def _invitations(request: OrganizationRequest, wrong: tuple[str, str, str]) -> dict[str, Any]:
    found = people.open_invitations()
    shown = list(found[:INVITATIONS_SHOWN])
    troubles = people.troubles_of(shown)
    wrong_id, sentence, _chosen = wrong
    rows = [
        {
            "id": invitation.pk,
            "email": invitation.email,
            "role_label": label_of(invitation.role),
            "team": invitation.team and invitation.team.name,
            "invited_by": invitation.invited_by.shown_name,
            "sent_at": invitation.sent_at,
            "expires_at": invitation.expires_at,
            "is_expired": people.is_expired(invitation),
            "trouble": troubles.get(invitation.pk, ""),
            "is_by_hand": not invitation.mail_id,
            "may_change": may_give(request.actor.role, Role(invitation.role)),
            "error": sentence if invitation.pk == wrong_id else "",
        }
        for invitation in shown
    ]
    total = found.count() if len(shown) == INVITATIONS_SHOWN else len(shown)
    return {"invitations": rows, "invitations_total": total}
