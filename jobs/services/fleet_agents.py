"""What operators do to agents: drain, put into maintenance and back, label, remove."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from accounts.services.tokens import hash_token
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import FieldProblem
from jobs.announcements import announce_agents, wake_dispatcher
from jobs.fleet_codes import FleetCode
from jobs.lifecycle import AgentState, AttemptStatus
from jobs.models import Agent, JobAttempt
from jobs.services import agent_access
from jobs.services.fleet_events import note
from jobs.services.fleet_reports import LABEL_MAX, LABELS_MAX, bad_labels
from jobs.services.leasing import OPEN
from jobs.services.transitions import end_attempt
from studio.core.errors import ConflictError, InvalidInputError, NotFoundError
from studio.core.scoping import system_scope

_CODES = {
    AgentState.SERVING: FleetCode.SERVING,
    AgentState.DRAINING: FleetCode.DRAINING,
    AgentState.MAINTENANCE: FleetCode.MAINTENANCE,
}
# The name of one that is gone is free again; what is kept of it says so.
GONE = " (removed "
_NAME_MAX = 40


def get_agent(actor: Actor, agent_id: str, *, permission: Permission) -> Agent:
    """An agent of the installation that was not removed.

    Raises:
        ForbiddenError: the actor is no operator.
        NotFoundError: there is no such agent.
    """
    actor.require(permission)
    agent = Agent.objects.filter(pk=agent_id, removed_at=None).first()
    if agent is None:
        raise NotFoundError(noun="agent")
    return agent


@transaction.atomic
def set_state(*, actor: Actor, agent_id: str, state: str) -> Agent:
    """Drain an agent, put it into maintenance, or let it serve; the same again: no change.

    Unless it serves it is given nothing more, and what it has not begun to fetch goes back to
    the queue at once. What it works at, it finishes.

    Raises:
        InvalidInputError: there is no such state.
    """
    agent = _lock(actor, agent_id)
    if state not in list(AgentState):
        names = ", ".join(AgentState)
        message = f"An agent's state is one of {names}; {state[:40]!r} is none."
        raise InvalidInputError(
            [FieldProblem(field="state", code="unknown_state", message=message, value=state[:40])]
        )
    if agent.state == state:
        return agent
    agent.state = state
    agent.save(update_fields=["state"])
    back = 0 if agent.is_accepting else _take_back(agent)
    data = {"given_back": back} if back else {}
    note(agent, _CODES[AgentState(state)], data, by=actor.user_id)
    record_event(actor, "agent.state_changed", agent.pk, {"state": state})
    announce_agents()
    wake_dispatcher()
    return agent


@transaction.atomic
def set_labels(*, actor: Actor, agent_id: str, labels: Sequence[str]) -> Agent:
    """Give the agent these labels and no others.

    Raises:
        InvalidInputError: one is no label, or there are too many.
    """
    agent = _lock(actor, agent_id)
    wanted = sorted({label.strip().lower() for label in labels if label.strip()})
    problems = label_problems(wanted)
    if problems:
        raise InvalidInputError(problems)
    if wanted != agent.labels:
        agent.labels = wanted
        agent.save(update_fields=["labels"])
        note(agent, FleetCode.LABELS, {"labels": wanted}, by=actor.user_id)
        record_event(actor, "agent.labels_changed", agent.pk, {"labels": wanted})
        wake_dispatcher()
    return agent


@transaction.atomic
def remove_agent(*, actor: Actor, agent_id: str) -> None:
    """Take an agent out of the fleet for good: its token opens nothing any more.

    Raises:
        ConflictError: it still works.
    """
    agent = _lock(actor, agent_id)
    with system_scope():
        held = JobAttempt.objects.filter(agent=agent, status__in=OPEN).count()
    if held:
        raise ConflictError(
            what=f"{agent.name} still works on {held} job{'' if held == 1 else 's'}. "
            "Drain it, and remove it when it has finished."
        )
    name = agent.name
    agent.name = f"{name[:_NAME_MAX]}{GONE}{agent.pk[4:]})"
    agent.token_hash = hash_token(secrets.token_urlsafe(32))
    agent.removed_at = timezone.now()
    agent.warm, agent.residents, agent.telemetry, agent.is_ready = [], [], {}, False
    agent.save()
    transaction.on_commit(lambda: agent_access.revoke(agent), robust=True)
    note(agent, FleetCode.REMOVED, by=actor.user_id)
    record_event(actor, "agent.removed", agent.pk)
    announce_agents()
    wake_dispatcher()


def name_of(agent: Agent) -> str:
    """Its name, also when it is gone."""
    return agent.name.partition(GONE)[0]


def label_problems(labels: Sequence[str]) -> list[FieldProblem]:
    """What is wrong with labels that somebody has written."""
    problems = [
        FieldProblem(
            field="labels",
            code="not_a_label",
            message=f"{text[:40]!r} is no label: small letters, digits and . _ : - are taken, "
            f"{LABEL_MAX} at most.",
            value=text[:40],
            limit=LABEL_MAX,
        )
        for text in bad_labels(labels)[:5]
    ]
    if len(labels) > LABELS_MAX:
        message = f"{len(labels)} labels are too many; an agent has {LABELS_MAX} at most."
        problems.append(
            FieldProblem(
                field="labels",
                code="too_many",
                message=message,
                value=len(labels),
                limit=LABELS_MAX,
            )
        )
    return problems


def _lock(actor: Actor, agent_id: str) -> Agent:
    actor.require(Permission.FLEET_MANAGE)
    agent = Agent.objects.select_for_update().filter(pk=agent_id, removed_at=None).first()
    if agent is None:
        raise NotFoundError(noun="agent")
    return agent


def _take_back(agent: Agent) -> int:
    """Give what the agent has not claimed back to the queue; how many that were."""
    with system_scope():
        staged = JobAttempt.objects.filter(
            agent=agent, status=AttemptStatus.LEASED.value, claimed_at=None
        )
        # The lock waits for a claim that is under way; what was claimed meanwhile is left.
        attempts = list(staged.select_for_update().order_by("pk"))
        return sum(
            end_attempt(attempt, AttemptStatus.EXPIRED, failure=FailureCode.AGENT_LOST)
            for attempt in attempts
        )
