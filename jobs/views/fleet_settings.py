"""The fleet: models kept warm, parts of organizations, the policy, join tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.http import OrganizationRequest, organization_page
from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem
from jobs.fleet_settings import joining_context, models_context, sharing_context
from jobs.scheduling import Tier
from jobs.services.fleet_joining import create_join_token, join_command, revoke_join_token
from jobs.services.fleet_pins import pin_model, unpin_model
from jobs.services.fleet_policy import change_policy
from jobs.services.fleet_shares import set_share
from jobs.views.fleet import fleet_frame, split_labels
from studio.core.errors import InvalidInputError


@require_safe
@organization_page(Permission.FLEET_VIEW)
def fleet_models(request: OrganizationRequest) -> HttpResponse:
    """Models, where they are warm, and which are to stay so."""
    return _models(request)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_pin(request: OrganizationRequest, version_id: str) -> HttpResponse:
    """Keep a model warm, or no more."""
    if "unpin" in request.POST:
        unpin_model(actor=request.actor, version_id=version_id)
        messages.success(request, "Unpinned: it stays loaded only while there is room.")
        return redirect("fleet-models", request.organization.pk)
    try:
        pin = pin_model(
            actor=request.actor,
            version_id=version_id,
            agents=whole(request.POST, "agents"),
            label=request.POST.get("label", ""),
        )
    except InvalidInputError as error:
        wrong = {"id": version_id, "values": request.POST, "errors": _by_field(error)}
        return _models(request, wrong=wrong, status=422)
    noun = "agent" if pin.agents == 1 else "agents"
    messages.success(request, f"Pinned: it is kept warm on {pin.agents} {noun}.")
    return redirect("fleet-models", request.organization.pk)


@require_safe
@organization_page(Permission.FLEET_VIEW)
def fleet_sharing(request: OrganizationRequest) -> HttpResponse:
    """What the scheduler goes by, and the parts of organizations."""
    return _sharing(request)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_policy(request: OrganizationRequest) -> HttpResponse:
    """Reserves, the floor and the window."""
    given: dict[str, Any] = {
        "reserved_shares": {
            tier.value: _part(request.POST.get(f"reserved_shares.{tier.value}", ""))
            for tier in Tier
        }
    }
    for name in ("floor_agents", "floor_seconds", "window_seconds"):
        given[name] = _number(request.POST.get(name, ""))
    try:
        change_policy(actor=request.actor, given=given, seen=request.POST.get("seen", ""))
    except InvalidInputError as error:
        return _sharing(request, errors=_by_field(error), values=request.POST, status=422)
    messages.success(request, "Saved. The scheduler goes by it within a second.")
    return redirect("fleet-sharing", request.organization.pk)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_share(request: OrganizationRequest, customer_id: str) -> HttpResponse:
    """An organization's weight and limits."""
    fields = ("weight", "jobs_at_once", "jobs_at_once_per_member")
    given = {name: _number(request.POST.get(name, "")) for name in fields}
    try:
        set_share(actor=request.actor, organization_id=customer_id, given=given)
    except InvalidInputError as error:
        wrong = {"id": customer_id, "values": request.POST, "errors": _by_field(error)}
        return _sharing(request, wrong=wrong, status=422)
    messages.success(request, "Saved. The scheduler goes by it within a second.")
    return redirect("fleet-sharing", request.organization.pk)


@require_safe
@organization_page(Permission.FLEET_VIEW)
def fleet_joining(request: OrganizationRequest) -> HttpResponse:
    """Join tokens, and how a machine joins."""
    return _joining(request)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_join_new(request: OrganizationRequest) -> HttpResponse:
    """Make a token; the command with it is in this answer and nowhere else."""
    try:
        token, plain = create_join_token(
            actor=request.actor,
            labels=split_labels(request.POST.get("labels", "")),
            uses=whole(request.POST, "uses"),
            hours=whole(request.POST, "hours"),
        )
    except InvalidInputError as error:
        return _joining(request, errors=_by_field(error), values=request.POST, status=422)
    reveal = {"command": join_command(plain), "token": token}
    return _joining(request, reveal=reveal, status=201)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_join_revoke(request: OrganizationRequest, join_id: str) -> HttpResponse:
    """End a token; pressing twice is fine."""
    revoke_join_token(actor=request.actor, join_id=join_id)
    messages.success(request, "Revoked: nothing can join with it any more.")
    return redirect("fleet-joining", request.organization.pk)


def whole(form: QueryDict, field: str) -> int:
    """A whole number of a form.

    Raises:
        InvalidInputError: it is none.
    """
    number = _number(form.get(field, ""))
    if isinstance(number, int):
        return number
    message = "Give a whole number."
    raise InvalidInputError([FieldProblem(field=field, code="not_whole", message=message)])


def _number(written: str) -> int | float | str | None:
    """A number as it was written; empty: None. What is none stays text, for the service to name."""
    text = written.strip().replace(",", ".")
    if not text:
        return None
    for kind in (int, float):
        try:
            return _plain(kind, text)
        except (ValueError, OverflowError):
            continue
    return text


def _plain(kind: Callable[[str], int | float], text: str) -> int | float:
    """Digits alone: Python would also read `1_000`, `nan` and `inf`."""
    if len(text) > 20 or set(text) - set("0123456789.-"):
        raise ValueError(text)
    return kind(text)


def _part(written: str) -> float | str | None:
    """A number of percent as a part of one."""
    number = _number(written)
    return number / 100 if isinstance(number, int | float) else number


def _by_field(error: InvalidInputError) -> dict[str, str]:
    """The first sentence for each field; templates look dots up, so they become underscores."""
    found: dict[str, str] = {}
    for problem in error.problems:
        found.setdefault(problem.field.replace(".", "_"), problem.message)
    return found


def _models(
    request: OrganizationRequest, *, wrong: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    context = {**fleet_frame(request, "models"), **models_context(wrong)}
    return render(request, "jobs/fleet_models.html", context, status=status)


def _sharing(
    request: OrganizationRequest,
    *,
    errors: dict[str, str] | None = None,
    values: QueryDict | None = None,
    wrong: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    rows = sharing_context(errors=errors or {}, values=values, wrong=wrong)
    context = {**fleet_frame(request, "sharing"), **rows}
    return render(request, "jobs/fleet_sharing.html", context, status=status)


def _joining(
    request: OrganizationRequest,
    *,
    errors: dict[str, str] | None = None,
    values: QueryDict | None = None,
    reveal: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        **fleet_frame(request, "joining"),
        **joining_context(),
        "errors": errors or {},
        "values": values or {"uses": "1", "hours": "24", "labels": ""},
        "reveal": reveal,
    }
    answer = render(request, "jobs/fleet_joining.html", context, status=status)
    if reveal:
        answer["Cache-Control"] = "no-store"
    return answer
