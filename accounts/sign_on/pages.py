"""The organization's page for single sign-on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.forms import add_problems
from accounts.http import OrganizationRequest, organization_page
from accounts.models import IdentityProvider, IdentityProviderKind
from accounts.presenters import organization_context
from accounts.roles import Permission
from accounts.services import sign_on
from accounts.sign_on.forms import OidcForm, SamlForm, initial_of, read_certificate
from accounts.sign_on.oidc import DiscoveryError, discover
from accounts.sign_on.providers import GIVEN, Config, OidcConfig, address_of, open_config
from studio.core.errors import InvalidInputError

ROUTE = "sign-on"
FORMS: dict[str, type[OidcForm] | type[SamlForm]] = {
    IdentityProviderKind.OIDC.value: OidcForm,
    IdentityProviderKind.SAML.value: SamlForm,
}


@require_http_methods(["GET", "POST"])
@organization_page(Permission.SIGN_ON_MANAGE)
def sign_on_page(request: OrganizationRequest) -> HttpResponse:
    """The providers; switch, test and remove them; require them."""
    problem = ""
    if request.method == "POST":
        try:
            _act(request)
            return redirect(ROUTE, request.organization.pk)
        except InvalidInputError as error:
            problem = error.message
    rows = sign_on.providers_of(request.actor)
    context = {
        **organization_context(request, ROUTE),
        "providers": [_shown(row) for row in rows],
        "has_active": any(row.is_active for row in rows),
        "problem": problem,
    }
    return render(request, "accounts/sign_on.html", context, status=422 if problem else 200)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.SIGN_ON_MANAGE)
def sign_on_new(request: OrganizationRequest) -> HttpResponse:
    """Add a provider."""
    kind = request.GET.get("kind", IdentityProviderKind.OIDC.value)
    kind = kind if kind in FORMS else IdentityProviderKind.OIDC.value
    initial = {"covers_second_factor": True}
    form = FORMS[kind](
        request.POST if request.method == "POST" else None, initial=initial, present=None
    )
    if form.is_bound and form.is_valid():
        try:
            row = sign_on.add_provider(
                actor=request.actor,
                organization=request.organization,
                config=form.config,
                terms=form.terms(),
            )
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            messages.success(
                request, "Added. Copy the addresses below to the provider, and try it."
            )
            return redirect("sign-on-edit", request.organization.pk, row.pk)
    return _render_form(request, form, kind, None, None)


@require_http_methods(["GET", "POST"])
@organization_page(Permission.SIGN_ON_MANAGE)
def sign_on_edit(request: OrganizationRequest, provider_id: str) -> HttpResponse:
    """Change a provider, and see what it must be told of us."""
    row = sign_on.get_provider(request.actor, provider_id)
    config = open_config(row)
    data = request.POST if request.method == "POST" else None
    form = FORMS[row.kind](data, initial=initial_of(row, config), present=config)
    if form.is_bound and form.is_valid():
        sign_on.change_provider(
            actor=request.actor, row=row, config=form.config, terms=form.terms()
        )
        messages.success(request, "Saved.")
        return redirect("sign-on-edit", request.organization.pk, row.pk)
    return _render_form(request, form, row.kind, row, config)


def _render_form(
    request: OrganizationRequest,
    form: OidcForm | SamlForm,
    kind: str,
    row: IdentityProvider | None,
    config: Config | None,
) -> HttpResponse:
    context = {
        **organization_context(request, ROUTE),
        "form": form,
        "kind": kind,
        "is_oidc": kind == IdentityProviderKind.OIDC.value,
        "provider": row,
        "config": config,
        "addresses": _addresses(row) if row else [],
        "roles": [role.value for role in GIVEN],
    }
    status = 422 if form.errors else 200
    return render(request, "accounts/sign_on_edit.html", context, status=status)


def _addresses(row: IdentityProvider) -> list[tuple[str, str]]:
    start = ("Start address, for your people", address_of("sign-on-start", row.pk))
    if row.kind == IdentityProviderKind.OIDC.value:
        return [("Redirect URI", address_of("sign-on-callback", row.pk)), start]
    return [
        ("Entity ID (audience), and our metadata", address_of("sign-on-metadata", row.pk)),
        ("ACS URL (reply address)", address_of("sign-on-acs", row.pk)),
        start,
    ]


def _act(request: OrganizationRequest) -> None:
    action, actor = request.POST.get("action", ""), request.actor
    if action in ("require", "allow"):
        wanted = action == "require"
        sign_on.require_sign_on(actor=actor, organization=request.organization, is_required=wanted)
        messages.success(request, "Saved.")
        return
    if action not in ("on", "off", "remove", "test"):
        return
    row = sign_on.get_provider(actor, request.POST.get("provider", ""))
    if action == "test":
        _test(request, row)
    elif action == "remove":
        sign_on.remove_provider(actor=actor, row=row)
        messages.success(request, f"{row.name} is removed.")
    else:
        sign_on.switch_provider(actor=actor, row=row, is_active=action == "on")
        messages.success(request, f"{row.name} is switched {action}.")


def _test(request: OrganizationRequest, row: IdentityProvider) -> None:
    """What can be found out without a person: does it answer, do its certificates hold."""
    config = open_config(row)
    if isinstance(config, OidcConfig):
        try:
            found = discover(config)
        except DiscoveryError as error:
            messages.error(request, f"{row.name}: {error}")
            return
        if found != config:
            message = f"{row.name} has changed its addresses. Open it and save to take them over."
            messages.warning(request, message)
            return
        messages.success(request, f"{row.name} answers. Whether it knows us shows when you try it.")
        return
    ends = [read_certificate(text).not_valid_after_utc for text in config.certificates]
    last = max(ends)
    if last <= datetime.now(tz=UTC):
        message = f"{row.name}: its certificate ended on {last:%-d %b %Y}. Give the new metadata."
        messages.warning(request, message)
        return
    message = f"{row.name}: its certificate holds until {last:%-d %b %Y}. Try it with your account."
    messages.success(request, message)


def _shown(row: IdentityProvider) -> dict[str, Any]:
    return {
        "row": row,
        "kind": "OpenID Connect" if row.kind == IdentityProviderKind.OIDC.value else "SAML 2.0",
        "people": sign_on.people_of(row),
        "start": address_of("sign-on-start", row.pk),
        "mapped": len(row.role_mapping),
    }
