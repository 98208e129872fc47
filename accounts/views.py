"""Pages of an organization."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.addresses import client_address
from accounts.forms import OrganizationForm, OrganizationSettingsForm, add_problems
from accounts.http import OrganizationRequest, organization_page, signed_in
from accounts.presenters import organization_context
from accounts.roles import Permission
from accounts.services.organizations import Rules, change_organization, create_organization
from studio.core.errors import InvalidInputError


@require_http_methods(["GET", "POST"])
@organization_page(Permission.ORGANIZATION_MANAGE)
def organization_settings(request: OrganizationRequest) -> HttpResponse:
    """The organization's name and its rules for signing in."""
    organization = request.organization
    form = OrganizationSettingsForm(
        request.POST or None,
        initial={
            "name": organization.name,
            "requires_second_factor": organization.requires_second_factor,
            "session_hours": organization.session_hours,
        },
    )
    if form.is_bound and form.is_valid() and _change(request, form):
        return redirect("organization-settings", organization.pk)
    context = {**organization_context(request, "organization-settings"), "form": form}
    status = 422 if form.errors else 200
    return render(request, "accounts/organization_settings.html", context, status=status)


def _change(request: OrganizationRequest, form: OrganizationSettingsForm) -> bool:
    rules = Rules(
        requires_second_factor=form.cleaned_data["requires_second_factor"],
        session_hours=form.cleaned_data["session_hours"],
    )
    try:
        change_organization(
            actor=request.actor,
            organization=request.organization,
            name=form.cleaned_data["name"],
            rules=rules,
        )
    except InvalidInputError as error:
        add_problems(form, error)
        return False
    messages.success(request, "Saved.")
    return True


@require_http_methods(["GET", "POST"])
@signed_in
def organization_new(request: HttpRequest) -> HttpResponse:
    """Found an organization."""
    form = OrganizationForm(request.POST or None)
    if form.is_bound and form.is_valid():
        try:
            organization = create_organization(
                user_id=str(request.user.pk),
                name=form.cleaned_data["name"],
                address=client_address(request),
            )
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            return redirect("organization-settings", organization.pk)
    context = {"form": form, "account_email": str(getattr(request.user, "email", ""))}
    status = 422 if form.errors else 200
    return render(request, "accounts/organization_new.html", context, status=status)
