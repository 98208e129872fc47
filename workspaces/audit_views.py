"""The audit log's page, and the log as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.audit_catalog import ACTIONS, say
from accounts.audit_log import page_of
from accounts.http import OrganizationRequest, organization_page
from accounts.models import AuditEvent, Membership
from accounts.presenters import organization_context
from accounts.roles import Permission
from accounts.services.audit import NOBODY, SYSTEM, record_event
from studio.core.errors import InvalidInputError, NotFoundError
from workspaces.audit_export import FORMATS, stream
from workspaces.audit_filters import NAMES, parse_filters
from workspaces.audit_names import details_in_words, names_in
from workspaces.models import Workspace

PEOPLE_LISTED = 500
# Shown in a column of its own.
_NOT_A_DETAIL = ("workspace",)


@require_GET
@organization_page(Permission.AUDIT_VIEW)
def audit_log(request: OrganizationRequest) -> HttpResponse:
    """A page of the log, newest first."""
    values = request.GET
    problems: dict[str, str] = {}
    events: list[AuditEvent] = []
    following = ""
    try:
        filters = parse_filters(values, request.actor)
        events, following = page_of(filters, before=values.get("before", "")[:30])
    except InvalidInputError as error:
        problems = {problem.field: problem.message for problem in error.problems}
    kept = {name: values[name] for name in NAMES if values.get(name)}
    context = {
        **organization_context(request, "audit-log"),
        "rows": _rows(events),
        "values": {name: values.get(name, "") for name in NAMES},
        "problems": problems,
        "is_filtered": any(name != "zone" for name in kept),
        "is_later_page": bool(values.get("before")),
        "query": urlencode(kept),
        "older": urlencode({**kept, "before": following}) if following else "",
        "newest": urlencode(kept),
        **_choices(request),
    }
    return render(request, "accounts/audit.html", context, status=422 if problems else 200)


@require_GET
@organization_page(Permission.AUDIT_VIEW)
def audit_export(request: OrganizationRequest) -> HttpResponseBase:
    """All that the filters leave, as a file; that it was asked for is noted first."""
    kind = request.GET.get("format", "csv")
    if kind not in FORMATS:
        raise NotFoundError(noun="format")
    filters = parse_filters(request.GET, request.actor)
    organization = request.organization
    codes = {"format": kind, **filters.codes()}
    record_event(request.actor, "audit.exported", organization.pk, codes)
    # What happens from now on is not in it: the file has an end.
    now = timezone.now()
    bounded = replace(filters, end=min(filters.end or now, now))
    content = stream(organization.pk, bounded, kind)
    response = StreamingHttpResponse(content, content_type=FORMATS[kind][0])
    name = f"audit-{organization.pk}-{now:%Y%m%d-%H%M%S}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Accel-Buffering"] = "no"
    return response


def _rows(events: list[AuditEvent]) -> list[dict[str, Any]]:
    names = names_in(events)
    return [
        {
            "event": event,
            "actor": names.get(event.actor_id, event.actor_id),
            "is_person": event.actor_id not in (SYSTEM, NOBODY),
            "token": event.token_id and names.get(event.token_id, event.token_id),
            "said": say(event.action),
            "object": names.get(event.object_id, ""),
            "workspace": _workspace(event, names),
            "details": details_in_words(_others(event.details), names),
        }
        for event in events
    ]


def _others(details: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in details.items() if key not in _NOT_A_DETAIL}


def _workspace(event: AuditEvent, names: Mapping[str, str]) -> str:
    workspace_id = str(event.details.get("workspace", ""))
    return names.get(workspace_id, workspace_id)


def _choices(request: OrganizationRequest) -> dict[str, Any]:
    """What the filters offer."""
    members = Membership.objects.filter(organization=request.organization).select_related("user")
    people = sorted(
        ((m.user_id, m.user.shown_name) for m in members[:PEOPLE_LISTED]),
        key=lambda person: person[1].casefold(),
    )
    nouns: dict[str, list[tuple[str, str]]] = {}
    for action, meaning in ACTIONS.items():
        nouns.setdefault(action.split(".")[0], []).append((action, meaning))
    return {
        "people": [*people, (SYSTEM, "The studio"), (NOBODY, "Nobody signed in")],
        "nouns": list(nouns.items()),
        "workspaces": list(Workspace.objects.order_by("name").values_list("pk", "name")),
    }
