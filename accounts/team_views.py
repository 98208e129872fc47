"""Pages of teams and of service accounts."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import people
from accounts.forms import add_problems
from accounts.http import OrganizationRequest, organization_page
from accounts.models import Team
from accounts.people_forms import ServiceAccountForm, TeamForm
from accounts.presenters import organization_context
from accounts.role_words import choices_for, label_of
from accounts.roles import Permission, Role, may_give
from accounts.selectors import active_members
from accounts.services import service_accounts as services
from accounts.services import teams as work
from studio.core.errors import InvalidInputError, StudioError


@require_GET
@organization_page(Permission.MEMBER_VIEW)
def teams(request: OrganizationRequest) -> HttpResponse:
    """All teams and who is in them."""
    return _teams(request)


@require_POST
@organization_page(Permission.TEAM_MANAGE)
def team_new(request: OrganizationRequest) -> HttpResponse:
    """Make a team, then choose its members."""
    form = TeamForm(request.POST)
    if form.is_valid():
        try:
            team = work.create_team(actor=request.actor, name=form.cleaned_data["name"])
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            return redirect("team", request.organization.pk, team.pk)
    return _teams(request, form=form, status=422)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.TEAM_MANAGE)
def team(request: OrganizationRequest, team_id: str) -> HttpResponse:
    """Rename a team and choose its members."""
    row = work.get_team(request.actor, team_id, permission=Permission.TEAM_MANAGE)
    form = TeamForm(request.POST if request.method == "POST" else None, initial={"name": row.name})
    chosen = {m.user_id for m in people.people_of_teams([row])[row.pk]}
    if form.is_bound:
        chosen = set(request.POST.getlist("members"))
        if form.is_valid() and _change(request, team_id, form, chosen):
            messages.success(request, "Saved.")
            return redirect("teams", request.organization.pk)
    context = {
        **organization_context(request, "teams"),
        "team": row,
        "form": form,
        "members": [
            {
                "id": m.user_id,
                "name": m.user.shown_name,
                "email": "service account" if m.user.is_service else m.user.email,
                "is_chosen": m.user_id in chosen,
            }
            for m in active_members(request.organization.pk)
        ],
    }
    status = 422 if form.errors else 200
    return render(request, "accounts/team.html", context, status=status)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.TEAM_MANAGE)
def team_delete(request: OrganizationRequest, team_id: str) -> HttpResponse:
    """Ask once more, then delete."""
    row = work.get_team(request.actor, team_id, permission=Permission.TEAM_MANAGE)
    if request.method == "POST":
        work.delete_team(actor=request.actor, team_id=team_id)
        messages.success(request, f"The team {row.name} was deleted.")
        return redirect("teams", request.organization.pk)
    context = {
        **organization_context(request, "teams"),
        "team": row,
        "members": [m.user.shown_name for m in people.people_of_teams([row])[row.pk]],
    }
    return render(request, "accounts/team_delete.html", context)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.SERVICE_ACCOUNT_MANAGE)
def service_accounts(request: OrganizationRequest) -> HttpResponse:
    """List; make one."""
    form = ServiceAccountForm(
        request.POST if request.method == "POST" else None, initial={"role": Role.ARTIST.value}
    )
    if form.is_bound and form.is_valid() and _make_service(request, form):
        return redirect("service-accounts", request.organization.pk)
    return _services(request, form=form, status=422 if form.errors else 200)


@require_POST
@organization_page(Permission.SERVICE_ACCOUNT_MANAGE)
def service_account_deactivate(request: OrganizationRequest, service_id: str) -> HttpResponse:
    """End a service account and its tokens."""
    services.deactivate_service_account(actor=request.actor, user_id=service_id)
    messages.success(request, "The service account and its tokens were ended.")
    return redirect("service-accounts", request.organization.pk)


def _teams(
    request: OrganizationRequest, *, form: TeamForm | None = None, status: int = 200
) -> HttpResponse:
    found: list[Team] = people.teams_of()
    members = people.people_of_teams(found)
    context = {
        **organization_context(request, "teams"),
        "form": form or TeamForm(),
        "may_manage": request.actor.can(Permission.TEAM_MANAGE),
        "teams": [
            {
                "id": row.pk,
                "name": row.name,
                "members": [m.user.shown_name for m in members[row.pk]],
            }
            for row in found
        ],
    }
    return render(request, "accounts/teams.html", context, status=status)


def _change(request: OrganizationRequest, team_id: str, form: TeamForm, chosen: set[str]) -> bool:
    try:
        work.change_team(
            actor=request.actor, team_id=team_id, name=form.cleaned_data["name"], user_ids=chosen
        )
    except InvalidInputError as error:
        add_problems(form, error)
        return False
    return True


def _make_service(request: OrganizationRequest, form: ServiceAccountForm) -> bool:
    values: dict[str, Any] = form.cleaned_data
    try:
        services.create_service_account(
            actor=request.actor, name=values["name"], role=values["role"]
        )
    except InvalidInputError as error:
        add_problems(form, error)
        return False
    except StudioError as error:
        form.add_error("role", error.message)
        return False
    messages.success(request, f"{values['name'].strip()} was made. Now give it a token.")
    return True


def _services(
    request: OrganizationRequest, *, form: ServiceAccountForm, status: int
) -> HttpResponse:
    actor = request.actor
    rows = [
        {
            "id": member.user_id,
            "name": member.user.shown_name,
            "role_label": label_of(member.role),
            "since": member.created_at,
            "is_active": member.user.is_active,
            "may_change": may_give(actor.role, Role(member.role)),
        }
        for member in people.service_accounts_of(request.organization.pk)
    ]
    context = {
        **organization_context(request, "service-accounts"),
        "form": form,
        "rows": rows,
        "roles": choices_for(actor.role, services.ROLES),
    }
    return render(request, "accounts/service_accounts.html", context, status=status)
