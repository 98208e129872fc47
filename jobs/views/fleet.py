"""The fleet: the board, one agent, its state, labels and removal."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.http import OrganizationRequest, organization_page
from accounts.presenters import organization_context
from accounts.roles import Permission
from jobs.fleet_office import agent_row, board_context, chosen, history, memory_row
from jobs.fleet_state import read_fleet
from jobs.lifecycle import AgentState
from jobs.models import Agent
from jobs.services.fleet_agents import get_agent, remove_agent, set_labels, set_state
from studio.core.errors import ConflictError, InvalidInputError, NotFoundError

_SAID = {
    AgentState.SERVING: "{name} takes work again.",
    AgentState.DRAINING: "{name} finishes what it has and gets nothing more.",
    AgentState.MAINTENANCE: "{name} is in maintenance: it stays out, also when it is restarted.",
}


def fleet_frame(request: OrganizationRequest, tab: str) -> dict[str, Any]:
    """What every page of the fleet has around it."""
    can_manage = request.actor.can(Permission.FLEET_MANAGE)
    return {**organization_context(request, "fleet"), "tab": tab, "can_manage": can_manage}


@require_safe
@organization_page(Permission.FLEET_VIEW)
def fleet(request: OrganizationRequest) -> HttpResponse:
    """Agents, queue, waits and history, kept up to date by `fleet_live`."""
    return render(request, "jobs/fleet.html", {**fleet_frame(request, "board"), **_board(request)})


@require_safe
@organization_page(Permission.FLEET_VIEW)
def fleet_live(request: OrganizationRequest) -> HttpResponse:
    """The board alone, as a fragment."""
    context = {"organization": request.organization, **_board(request)}
    return render(request, "jobs/partials/fleet_board.html", context)


@require_safe
@organization_page(Permission.FLEET_VIEW)
def fleet_agent(request: OrganizationRequest, agent_id: str) -> HttpResponse:
    """One agent: what it is, what it holds, what happened to it."""
    agent = get_agent(request.actor, agent_id, permission=Permission.FLEET_VIEW)
    return _agent_page(request, agent)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_agent_state(request: OrganizationRequest, agent_id: str) -> HttpResponse:
    """Drain, put into maintenance, or back."""
    try:
        agent = set_state(
            actor=request.actor, agent_id=agent_id, state=request.POST.get("state", "")
        )
    except InvalidInputError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _SAID[AgentState(agent.state)].format(name=agent.name))
    if request.POST.get("from") == "agent":
        return redirect("fleet-agent", request.organization.pk, agent_id)
    return redirect("fleet", request.organization.pk)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_agent_labels(request: OrganizationRequest, agent_id: str) -> HttpResponse:
    """Give the agent other labels."""
    written = request.POST.get("labels", "")
    try:
        agent = set_labels(actor=request.actor, agent_id=agent_id, labels=split_labels(written))
    except InvalidInputError as error:
        agent = get_agent(request.actor, agent_id, permission=Permission.FLEET_MANAGE)
        errors = [problem.message for problem in error.problems]
        return _agent_page(request, agent, labels=written, label_errors=errors, status=422)
    messages.success(request, f"{agent.name} has these labels now.")
    return redirect("fleet-agent", request.organization.pk, agent_id)


@require_POST
@organization_page(Permission.FLEET_MANAGE)
def fleet_agent_remove(request: OrganizationRequest, agent_id: str) -> HttpResponse:
    """Take an agent out for good; while it works, say so."""
    agent = get_agent(request.actor, agent_id, permission=Permission.FLEET_MANAGE)
    try:
        remove_agent(actor=request.actor, agent_id=agent_id)
    except ConflictError as error:
        messages.error(request, error.message)
        return redirect("fleet-agent", request.organization.pk, agent_id)
    messages.success(request, f"{agent.name} was removed. Its token opens nothing any more.")
    return redirect("fleet", request.organization.pk)


def split_labels(written: str) -> list[str]:
    """Labels that somebody has written, with commas or spaces between."""
    return written.replace(",", " ").split()


def _board(request: OrganizationRequest) -> dict[str, Any]:
    return board_context(read_fleet(), can_manage=request.actor.can(Permission.FLEET_MANAGE))


def _agent_page(
    request: OrganizationRequest,
    agent: Agent,
    *,
    labels: str | None = None,
    label_errors: list[str] | None = None,
    status: int = 200,
) -> HttpResponse:
    state = read_fleet()
    line = next((each for each in state.agents if each.agent.pk == agent.pk), None)
    if line is None:  # removed a moment ago
        raise NotFoundError(noun="agent")
    context = {
        **fleet_frame(request, "board"),
        "agent": agent_row(line, now=state.at),
        "row": agent,
        "memory": memory_row(agent),
        "labels": chosen(agent.labels) if labels is None else labels,
        "label_errors": label_errors or [],
        "events": history(agent),
        "fingerprint": sorted(agent.fingerprint.items()),
    }
    return render(request, "jobs/fleet_agent.html", context, status=status)
