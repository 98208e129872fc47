"""Pages of the library: what there is, one model, and adding files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.http import OrganizationRequest, has_session, organization_page, takes_large_body
from accounts.presenters import organization_context
from accounts.roles import Permission
from library.api import offset_of, read_piece
from library.models import ModelAsset
from library.presenters import asset_page, asset_row, upload_json, upload_row
from library.services.catalog import change_asset, get_asset, remove_asset, restore_asset
from library.services.upload_store import PIECE_BYTES
from library.services.uploads import (
    begin_fetch,
    begin_upload,
    cancel_upload,
    get_upload,
    receive_piece,
    recent_uploads,
    try_again,
)
from library.uploads import read_details
from studio.core.errors import InvalidInputError, invalid


@require_GET
@organization_page(Permission.MODEL_VIEW)
def models(request: OrganizationRequest) -> HttpResponse:
    """All that the organization sees, and what is on its way."""
    with_removed = request.GET.get("removed") == "1"
    context = {**_frame(request), **_arriving(request), **_listed(with_removed=with_removed)}
    return render(request, "library/models.html", context)


@require_GET
@organization_page(Permission.MODEL_MANAGE)
def models_live(request: OrganizationRequest) -> HttpResponse:
    """What is on its way, as it is now (fragment)."""
    context = {"organization": request.organization, **_arriving(request)}
    return render(request, "library/partials/arriving.html", context)


def _frame(request: OrganizationRequest) -> dict[str, Any]:
    return {
        **organization_context(request, "models"),
        "may_manage": request.actor.can(Permission.MODEL_MANAGE),
        "may_fetch": bool(settings.FETCH_PORTS),
    }


def _arriving(request: OrganizationRequest) -> dict[str, Any]:
    if not request.actor.can(Permission.MODEL_MANAGE):
        return {"uploads": []}
    return {"uploads": [upload_row(upload) for upload in recent_uploads()]}


def _listed(*, with_removed: bool) -> dict[str, Any]:
    assets = ModelAsset.objects.prefetch_related("versions__files").order_by("name", "id")
    rows = [asset_row(asset) for asset in assets]
    removed = [row for row in rows if row["is_removed"]]
    shown = rows if with_removed else [row for row in rows if not row["is_removed"]]
    return {"models": shown, "removed": len(removed), "with_removed": with_removed}


@require_GET
@organization_page(Permission.MODEL_VIEW)
def model(request: OrganizationRequest, asset_id: str) -> HttpResponse:
    """What is known about a model."""
    return _model(request, asset_id)


@require_POST
@organization_page(Permission.MODEL_MANAGE)
def model_change(request: OrganizationRequest, asset_id: str) -> HttpResponse:
    """Change what is said about it."""
    fields = ("licence", "description", "example_prompts", "presets")
    said = {field: request.POST.get(field, "") for field in fields}
    try:
        get_asset(request.actor, asset_id, permission=Permission.MODEL_MANAGE)
        change_asset(actor=request.actor, asset_id=asset_id, said=_said(said))
    except InvalidInputError as error:
        errors = {problem.field: problem.message for problem in error.problems}
        return _model(request, asset_id, said=said, errors=errors)
    messages.success(request, "Saved.")
    return redirect("model", request.organization.pk, asset_id)


def _model(
    request: OrganizationRequest,
    asset_id: str,
    *,
    said: Mapping[str, str] = MappingProxyType({}),
    errors: Mapping[str, str] = MappingProxyType({}),
) -> HttpResponse:
    asset = get_asset(request.actor, asset_id, permission=Permission.MODEL_VIEW)
    kept = {
        "licence": asset.licence,
        "description": asset.description,
        "example_prompts": "\n".join(asset.example_prompts),
        "presets": json.dumps(asset.presets, indent=2, ensure_ascii=False),
    }
    context = {
        **_frame(request),
        "model": asset_page(asset, request.actor),
        "values": {**kept, **said},
        "errors": errors,
    }
    return render(request, "library/model.html", context, status=422 if errors else 200)


def _said(texts: dict[str, str]) -> dict[str, object]:
    """What the form says; prompts one a line, presets as JSON."""
    try:
        presets = json.loads(texts["presets"] or "[]")
    except (ValueError, RecursionError):
        raise invalid("presets", "not_json", "Presets must be a list in JSON.") from None
    prompts = texts["example_prompts"].splitlines()
    return {**texts, "example_prompts": prompts, "presets": presets}


@require_POST
@organization_page(Permission.MODEL_MANAGE)
def model_remove(request: OrganizationRequest, asset_id: str) -> HttpResponse:
    """Take it out of choice."""
    asset = remove_asset(actor=request.actor, asset_id=asset_id)
    messages.success(
        request,
        f"{asset.name} cannot be chosen any more. Pictures that were made with it can be made "
        "again; Restore has it back.",
    )
    return redirect("model", request.organization.pk, asset_id)


@require_POST
@organization_page(Permission.MODEL_MANAGE)
def model_restore(request: OrganizationRequest, asset_id: str) -> HttpResponse:
    """Have it chosen again."""
    asset = restore_asset(actor=request.actor, asset_id=asset_id)
    messages.success(request, f"{asset.name} can be chosen again.")
    return redirect("model", request.organization.pk, asset_id)


@require_POST
@organization_page(Permission.MODEL_MANAGE)
def upload_begin(request: OrganizationRequest) -> JsonResponse:
    """Begin to add a file, or have one fetched; what the API answers."""
    details = read_details(request.POST)
    address = request.POST.get("url", "").strip()
    if address:
        fetched = begin_fetch(actor=request.actor, address=address, details=details)
        return _answer(request, fetched.pk, status=201)
    size = request.POST.get("size_bytes", "")
    upload, is_new = begin_upload(
        actor=request.actor,
        file_name=request.POST.get("file_name"),
        size_bytes=int(size) if size.isascii() and size.isdigit() and len(size) < 16 else None,
        details=details,
        fingerprint=request.POST.get("fingerprint"),
    )
    return _answer(request, upload.pk, status=201 if is_new else 200)


@require_GET
@organization_page(Permission.MODEL_MANAGE)
def upload_state(request: OrganizationRequest, upload_id: str) -> JsonResponse:
    """How far it is."""
    return _answer(request, upload_id)


@takes_large_body(PIECE_BYTES, admits=has_session)
@require_http_methods(["PUT"])
@organization_page(Permission.MODEL_MANAGE)
def upload_content(request: OrganizationRequest, upload_id: str) -> JsonResponse:
    """Take a piece."""
    get_upload(request.actor, upload_id)
    offset = offset_of(request.GET.get("offset", ""))
    content = read_piece(request)
    receive_piece(actor=request.actor, upload_id=upload_id, offset=offset, content=content)
    return _answer(request, upload_id)


@require_POST
@organization_page(Permission.MODEL_MANAGE)
def upload_retry(request: OrganizationRequest, upload_id: str) -> JsonResponse:
    """Check a refused file again under other details."""
    get_upload(request.actor, upload_id)
    details = read_details(request.POST)
    try_again(actor=request.actor, upload_id=upload_id, details=details)
    return _answer(request, upload_id, status=202)


@require_POST
@organization_page(Permission.MODEL_MANAGE)
def upload_cancel(request: OrganizationRequest, upload_id: str) -> HttpResponse:
    """Give it up."""
    cancel_upload(actor=request.actor, upload_id=upload_id)
    messages.success(request, "Given up, and its bytes forgotten.")
    return redirect("models", request.organization.pk)


def _answer(request: OrganizationRequest, upload_id: str, *, status: int = 200) -> JsonResponse:
    """As the API says it, with the addresses that the page goes on with."""
    upload = get_upload(request.actor, upload_id)
    ids = [request.organization.pk, upload.pk]
    model_id = upload.version.asset_id if upload.version is not None else ""
    body = {
        **upload_json(upload),
        "state_url": reverse("model-upload", args=ids),
        "content_url": reverse("model-upload-content", args=ids),
        "retry_url": reverse("model-upload-retry", args=ids),
        "model_url": reverse("model", args=[ids[0], model_id]) if model_id else "",
    }
    return JsonResponse(body, status=status)
