"""What one member can get into, and why."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts import people
from accounts.http import OrganizationRequest, organization_page
from accounts.presenters import organization_context
from accounts.role_words import MEANINGS, label_of, with_article
from accounts.roles import REACH_ALL, Permission, Role, may_give
from workspaces.access import visible_workspaces
from workspaces.models import Workspace
from workspaces.selectors import Reach, reaches_of_member


@require_GET
@organization_page(Permission.MEMBER_VIEW)
def member(request: OrganizationRequest, user_id: str) -> HttpResponse:
    """Every workspace the person reaches, of those that who asks can see."""
    found = people.get_member(request.organization.pk, user_id)
    actor, role = request.actor, Role(found.role)
    workspaces = list(visible_workspaces(actor))
    context = {
        **organization_context(request, "members"),
        "member": {
            "id": user_id,
            "name": found.user.shown_name,
            "email": found.user.email,
            "role_label": label_of(role),
            "meaning": MEANINGS[role],
            "since": found.created_at,
            "is_active": found.user.is_active,
            "is_me": user_id == actor.user_id,
        },
        "teams": people.teams_by_member([found]).get(found.pk, []),
        "rows": [
            _row(workspace, reach) for workspace, reach in reaches_of_member(found, workspaces)
        ],
        "sees_all": actor.role in REACH_ALL,
        "may_remove": actor.can(Permission.MEMBER_MANAGE) and may_give(actor.role, role),
    }
    return render(request, "accounts/member.html", context)


def _row(workspace: Workspace, reach: Reach) -> dict[str, Any]:
    return {
        "id": workspace.pk,
        "name": workspace.name,
        "color": workspace.color,
        "is_restricted": workspace.is_restricted,
        "does": does(reach),
        "reasons": reasons(workspace, reach),
    }


def does(reach: Reach) -> str:
    """What they can do there, in a word or two."""
    if Permission.WORKSPACE_MANAGE in reach.rights:
        return "manages it"
    return "makes pictures" if Permission.JOB_SUBMIT in reach.rights else "looks"


def reasons(workspace: Workspace, reach: Reach) -> list[str]:
    """What lets them in, each a phrase; all of them, so that taking one away holds no surprise."""
    found = []
    role = label_of(reach.role)
    if reach.role in REACH_ALL:
        found.append(f"{role}: reaches every workspace")
    elif reach.by_role:
        found.append(f"{role}: this workspace is open to all members")
    for grant in reach.grants:
        whom = f"team {grant.team.name} is" if grant.team else "is"
        found.append(f"{whom} let in as {with_article(grant.role)}")
    return [phrase[0].upper() + phrase[1:] for phrase in found]
