"""The pages where people make, rotate and revoke API tokens: their own, and service accounts'."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.http import OrganizationRequest, enforce, find_member, organization_page, signed_in
from accounts.models import Organization
from accounts.policy import reachable_organizations
from accounts.presenters import organization_context
from accounts.roles import Permission
from accounts.selectors import find_actor, organizations_of
from accounts.services.tokens import get_service_account
from studio.core.errors import NotFoundError
from studio.core.scoping import organization_scope
from workspaces.token_desk import Desk, attend


@require_http_methods(["GET", "POST"])
@signed_in
def tokens(request: HttpRequest) -> HttpResponseBase:
    """One's own tokens in one organization, which the address names (`?organization=`)."""
    user_id = str(request.user.pk)
    among = reachable_organizations(request.session, user_id)
    mine = organizations_of(user_id, among=among)
    context = {
        "account_email": str(getattr(request.user, "email", "")),
        "organizations": list(Organization.objects.filter(pk__in=mine).order_by("created_at")),
    }
    if not mine:
        return render(request, "jobs/tokens.html", context)
    chosen = request.GET.get("organization") or mine[0]
    actor = find_member(request, chosen)
    if actor is None:
        raise NotFoundError(noun="organization")
    desk = Desk(
        actor=actor,
        owner=actor,
        address=f"{reverse('tokens')}?organization={chosen}",
        template="jobs/tokens.html",
    )
    # A token outlives the session: who may not enter any more makes none.
    refusal = enforce(request, Organization.objects.get(pk=chosen))
    if refusal is not None:
        return refusal
    with organization_scope(chosen):
        actor.require(Permission.TOKEN_MANAGE_OWN)
        return attend(request, desk, {**context, "chosen": chosen})


@require_http_methods(["GET", "POST"])
@organization_page(Permission.SERVICE_ACCOUNT_MANAGE)
def service_account_tokens(request: OrganizationRequest, service_id: str) -> HttpResponse:
    """The tokens of a service account."""
    account = get_service_account(request.actor, service_id)
    owner = find_actor(service_id, request.organization.pk)
    if owner is None:
        raise NotFoundError(noun="service account")
    desk = Desk(
        actor=request.actor,
        owner=owner,
        address=reverse("service-account-tokens", args=[request.organization.pk, service_id]),
        template="accounts/service_tokens.html",
    )
    context = {**organization_context(request, "service-accounts"), "account": account}
    return attend(request, desk, context)
