"""The export of an organization: what is in it, and the download."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from accounts.confirming import confirm_url, require_confirmed
from accounts.http import OrganizationRequest, organization_page
from accounts.presenters import organization_context
from accounts.roles import Permission
from jobs.export.streaming import zip_response
from jobs.office import workspaces_context
from jobs.services.export import begin_export


@require_http_methods(["GET", "POST"])
@organization_page(Permission.ORGANIZATION_EXPORT)
def organization_export(request: OrganizationRequest) -> HttpResponseBase:
    """GET says what it holds, POST sends it to an owner who has just shown that it is them."""
    if request.method == "POST":
        require_confirmed(request)
        return zip_response(begin_export(actor=request.actor), request.organization.pk)
    return _page(request)


def _page(request: OrganizationRequest) -> HttpResponse:
    context = {
        **organization_context(request, "organization-export"),
        **workspaces_context(request.organization, request.actor),
        "confirm_url": confirm_url(request),
    }
    context["pictures"] = sum(room["pictures"] for room in context["rooms"])
    context["bytes"] = sum(room["bytes"] for room in context["rooms"])
    return render(request, "jobs/export.html", context)
