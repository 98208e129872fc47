"""What pages of an organization show around their content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from accounts.actors import Actor
from accounts.http import OrganizationRequest
from accounts.roles import Permission


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the navigation: its name, its route, and who sees it."""

    title: str
    route: str
    permission: Permission


SECTIONS = (
    Section("Members", "members", Permission.MEMBER_VIEW),
    Section("Teams", "teams", Permission.MEMBER_VIEW),
    Section("Workspaces", "workspaces", Permission.WORKSPACE_CREATE),
    Section("Models", "models", Permission.MODEL_VIEW),
    Section("Service accounts", "service-accounts", Permission.SERVICE_ACCOUNT_MANAGE),
    Section("Sign-on", "sign-on", Permission.SIGN_ON_MANAGE),
    Section("Audit log", "audit-log", Permission.AUDIT_VIEW),
    Section("Organization", "organization-settings", Permission.ORGANIZATION_MANAGE),
    Section("Export", "organization-export", Permission.ORGANIZATION_EXPORT),
    Section("Fleet", "fleet", Permission.FLEET_VIEW),
)


def organization_context(request: OrganizationRequest, route: str) -> dict[str, Any]:
    """The frame of the page at `route`: whose it is, and where else one can go."""
    return {
        "organization": request.organization,
        "account_email": str(getattr(request.user, "email", "")),
        "sections": [
            {
                "title": section.title,
                "url": reverse(section.route, args=[request.organization.pk]),
                "is_here": section.route == route,
            }
            for section in sections_of(request.actor)
        ],
    }


def sections_of(actor: Actor) -> list[Section]:
    """The sections that the actor may open."""
    return [section for section in SECTIONS if actor.can(section.permission)]
