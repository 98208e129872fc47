"""Removing a member, and leaving."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import people
from accounts.forms import add_problems
from accounts.http import OrganizationRequest, organization_page
from accounts.models import Membership
from accounts.people_forms import RemovalForm
from accounts.presenters import organization_context
from accounts.roles import Permission, Role, may_give
from accounts.services.members import check_owner_remains
from jobs.services.leaving import belongings_of, remove_member
from studio.core.errors import (
    AboveError,
    InvalidInputError,
    LastOwnerError,
    NotFoundError,
    StudioError,
)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.MEMBER_MANAGE)
def member_remove(request: OrganizationRequest, user_id: str) -> HttpResponse:
    """Who takes over, what becomes of waiting jobs; then remove."""
    if user_id == request.actor.user_id:
        return redirect("leave", request.organization.pk)
    member = people.get_member(request.organization.pk, user_id)
    if not may_give(request.actor.role, Role(member.role)):
        raise AboveError
    return _handle(request, member)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.MEMBER_VIEW)
def leave(request: OrganizationRequest) -> HttpResponse:
    """Leave the organization oneself."""
    return _handle(request, people.get_member(request.organization.pk, request.actor.user_id))


def _handle(request: OrganizationRequest, member: Membership) -> HttpResponse:
    default = "" if member.user_id == request.actor.user_id else request.actor.user_id
    initial = {"jobs": "keep", "successor": default}
    form = RemovalForm(request.POST if request.method == "POST" else None, initial=initial)
    if not form.is_bound:
        return _page(request, member, form, status=200)
    status = 422
    if form.is_valid():
        try:
            return _remove(request, member, form.cleaned_data)
        except NotFoundError:
            raise
        except InvalidInputError as error:
            add_problems(form, error)
        except StudioError as error:
            form.add_error(None, error.message)
            status = error.status
    return _page(request, member, form, status=status)


def _remove(
    request: OrganizationRequest, member: Membership, values: dict[str, Any]
) -> HttpResponse:
    remove_member(
        actor=request.actor,
        user_id=member.user_id,
        successor_id=values["successor"],
        cancel_jobs=values["jobs"] == "cancel",
    )
    if member.user_id == request.actor.user_id:
        messages.success(request, f"You have left {request.organization.name}.")
        return redirect("home")
    messages.success(request, f"{member.user.shown_name} is no member any more.")
    return redirect("members", request.organization.pk)


def _page(
    request: OrganizationRequest, member: Membership, form: RemovalForm, *, status: int
) -> HttpResponse:
    others = people.members_of(request.organization.pk).filter(user__is_active=True)
    is_me = member.user_id == request.actor.user_id
    context = {
        **organization_context(request, "members"),
        "member": {
            "id": member.user_id,
            "name": member.user.shown_name,
            "email": member.user.email,
            "is_me": is_me,
        },
        "has": belongings_of(request.actor, member.user_id),
        "form": form,
        "successors": [
            {"id": m.user_id, "name": m.user.shown_name, "email": m.user.email}
            for m in others.exclude(user_id=member.user_id)
        ],
        "blocked": _blocked(member),
    }
    return render(request, "accounts/member_remove.html", context, status=status)


def _blocked(member: Membership) -> str:
    try:
        check_owner_remains(member)
    except LastOwnerError as error:
        return error.message
    return ""
