"""Share links, for those who make them: new, the list, revoked."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.roles import Permission
from jobs.forms import ShareForm, show_problems
from jobs.presenters import base_context, output_tile, project_choices
from jobs.selectors import gallery_page, outputs_named
from jobs.services.sharing import DAYS_MAX, create_share, revoke_share, title_of
from jobs.shares import shares_of
from jobs.watermark import TEXT_MAX
from studio.core.errors import InvalidInputError
from studio.core.urls import absolute
from workspaces.access import get_project, get_share
from workspaces.http import WorkspaceRequest, workspace_page
from workspaces.models import Project, ShareLink
from workspaces.services.projects import project_name


@require_safe
@workspace_page(Permission.SHARE_MANAGE)
def shares(request: WorkspaceRequest) -> HttpResponse:
    """The workspace's links: how often they were opened, until when they lead anywhere."""
    rows = [share_row(link) for link in shares_of(request.workspace)]
    context = {
        **_frame(request),
        "live_shares": [row for row in rows if row["is_live"]],
        "ended_shares": [row for row in rows if not row["is_live"]],
    }
    return render(request, "jobs/shares.html", context)


@require_http_methods(["GET", "POST"])
@workspace_page(Permission.SHARE_MANAGE)
def share_new(request: WorkspaceRequest) -> HttpResponse:
    """Make a link; its address is in this answer and nowhere else."""
    if request.method != "POST":
        return _form_page(request, ShareForm(initial=_initial(request)))
    form = ShareForm(request.POST)
    form.offer(request.POST.getlist("outputs"))
    made = _create(request, form) if form.is_valid() else None
    if made is None:
        return _form_page(request, form, status=422)
    link, token = made
    context = {
        **_frame(request),
        "share": share_row(link),
        "address": absolute(reverse("shared", args=[token])),
    }
    return render(request, "jobs/share_made.html", context, status=201)


@require_POST
@workspace_page(Permission.SHARE_MANAGE)
def share_revoke(request: WorkspaceRequest, share_id: str) -> HttpResponse:
    """End a link at once; pressing twice is fine."""
    link = get_share(request.actor, share_id, workspace=request.workspace)
    revoke_share(actor=request.actor, link=link)
    messages.success(request, "Revoked: the link leads nowhere any more.")
    return redirect("shares", request.workspace.pk)


def share_row(link: ShareLink) -> dict[str, Any]:
    """A link for pages."""
    now = timezone.now()
    return {
        "id": link.pk,
        "title": title_of(link),
        "project": project_name(link.project) if link.project else None,
        "pictures": len(link.output_ids),
        "author": link.created_by.shown_name,
        "created_at": link.created_at,
        "expires_at": link.expires_at,
        "is_revoked": link.revoked_at is not None,
        "is_live": link.revoked_at is None and link.expires_at > now,
        "opens": link.opens,
        "last_opened_at": link.last_opened_at,
        "has_password": bool(link.password_hash),
        "has_watermark": link.has_watermark,
        "shows_metadata": link.shows_metadata,
        "revoke_url": reverse("share-revoke", args=[link.workspace_id, link.pk]),
    }


def _frame(request: WorkspaceRequest) -> dict[str, Any]:
    email = str(getattr(request.user, "email", ""))
    return base_context(request.workspace, request.actor, email)


def _initial(request: WorkspaceRequest) -> dict[str, Any]:
    """What the address proposes to share."""
    project, output = request.GET.get("project", ""), request.GET.get("output", "")
    return {
        "what": "project" if project else "pictures",
        "project": project,
        "outputs": [output] if output else [],
    }


def _create(request: WorkspaceRequest, form: ShareForm) -> tuple[ShareLink, str] | None:
    try:
        return create_share(
            actor=request.actor,
            workspace=request.workspace,
            terms=form.terms(),
            project=_project(request, form),
            output_ids=form.cleaned_data["outputs"] if _is_of_pictures(form) else [],
        )
    except InvalidInputError as error:
        show_problems(form, error)
        return None


def _is_of_pictures(form: ShareForm) -> bool:
    return bool(form.cleaned_data["what"] == "pictures")


def _project(request: WorkspaceRequest, form: ShareForm) -> Project | None:
    if _is_of_pictures(form) or not form.cleaned_data["project"]:
        return None
    return get_project(
        request.actor,
        form.cleaned_data["project"],
        permission=Permission.SHARE_MANAGE,
        workspace=request.workspace,
    )


def _form_page(request: WorkspaceRequest, form: ShareForm, *, status: int = 200) -> HttpResponse:
    chosen = [str(pk) for pk in form["outputs"].value() or []]
    context = {
        **_frame(request),
        "form": form,
        "projects": project_choices(request.workspace),
        "offers": _offers(request, chosen),
        "days_max": DAYS_MAX,
        "text_max": TEXT_MAX,
    }
    return render(request, "jobs/share_new.html", context, status=status)


def _offers(request: WorkspaceRequest, chosen: list[str]) -> list[dict[str, Any]]:
    """The chosen pictures, then the newest ones, to tick."""
    first = outputs_named(request.workspace, chosen)
    newest, _next = gallery_page(request.workspace, before=None, is_trash=False)
    known = {output.pk for output in first}
    return [
        {
            **output_tile(output),
            "is_chosen": output.pk in known,
        }
        for output in [*first, *(o for o in newest if o.pk not in known)]
    ]
