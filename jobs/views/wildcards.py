"""The page of a workspace's wildcard lists."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.roles import Permission
from jobs.presenters import base_context
from jobs.services.wildcards import (
    NAME_MAX,
    add_wildcard,
    change_wildcard,
    entries_in,
    get_wildcard,
    lists_of,
    remove_wildcard,
)
from studio.core.errors import InvalidInputError
from workspaces.http import WorkspaceRequest, workspace_page


@require_http_methods(["GET", "POST"])
@workspace_page(Permission.JOB_SUBMIT)
def wildcards(request: WorkspaceRequest) -> HttpResponse:
    """All lists; a new one."""
    if request.method != "POST":
        return _page(request)
    name, words = request.POST.get("name", ""), request.POST.get("entries", "")
    try:
        add_wildcard(
            actor=request.actor,
            workspace=request.workspace,
            name=name,
            entries=entries_in(words),
        )
    except InvalidInputError as error:
        new = {"name": name, "words": words, "problem": error.message}
        return _page(request, new=new, status=422)
    return redirect("wildcards", request.workspace.pk)


@require_POST
@workspace_page(Permission.JOB_SUBMIT)
def wildcard_change(request: WorkspaceRequest, wildcard_id: str) -> HttpResponse:
    """Another name, other entries; with `remove` it goes."""
    row = get_wildcard(request.actor, wildcard_id, workspace=request.workspace)
    if request.POST.get("remove"):
        remove_wildcard(actor=request.actor, wildcard=row)
        return redirect("wildcards", request.workspace.pk)
    name, words = request.POST.get("name"), request.POST.get("entries")
    entries = None if words is None else entries_in(words)
    try:
        change_wildcard(actor=request.actor, wildcard=row, name=name, entries=entries)
    except InvalidInputError as error:
        wrong = {"id": row.pk, "name": name, "words": words, "problem": error.message}
        return _page(request, wrong=wrong, status=422)
    return redirect("wildcards", request.workspace.pk)


def _page(
    request: WorkspaceRequest,
    *,
    new: dict[str, Any] | None = None,
    wrong: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    email = str(getattr(request.user, "email", ""))
    rows: list[dict[str, Any]] = [
        {"id": found.id, "name": found.name, "words": "\n".join(found.entries), "problem": ""}
        for found in lists_of(request.workspace)
    ]
    if wrong is not None:
        rows = [wrong if row["id"] == wrong["id"] else row for row in rows]
    context = {
        **base_context(request.workspace, request.actor, email),
        "lists": rows,
        "name_max": NAME_MAX,
        "new": new or {"name": "", "words": ""},
    }
    return render(request, "jobs/wildcards.html", context, status=status)
