"""Agents: made known, registered at each start, heard of at each heartbeat."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.services.tokens import hash_token
from gpuagent.protocol.messages import Heartbeat, HeartbeatReply, ModelRef, Register
from jobs.announcements import announce_agents, wake_dispatcher_for_agents
from jobs.models import Agent
from jobs.services.claiming import model_ref
from jobs.services.leasing import expire_earlier_boots, renew_leases
from library.models import ModelVersion

AGENT_PREFIX = "sta_"
PRELOAD_MAX = 2


def create_agent(name: str, *, is_local: bool) -> tuple[Agent, str]:
    """An agent and its new token, shown once; an existing name gets a new token."""
    plain = AGENT_PREFIX + secrets.token_urlsafe(32)
    agent, _made = Agent.objects.update_or_create(
        name=name, defaults={"token_hash": hash_token(plain), "is_local": is_local}
    )
    return agent, plain


def find_agent(plain: str) -> Agent | None:
    """The agent with this token."""
    if not plain.startswith(AGENT_PREFIX):
        return None
    return Agent.objects.filter(token_hash=hash_token(plain)).first()


@transaction.atomic
def register_agent(agent: Agent, message: Register) -> None:
    """A process of this agent has started: note what it is, end what its last life held."""
    now = timezone.now()
    Agent.objects.filter(pk=agent.pk).update(
        boot_id=message.boot_id,
        fingerprint=message.fingerprint,
        device=message.device,
        memory_bytes=message.memory_bytes,
        warm=[],
        is_ready=False,
        is_draining=False,
        registered_at=now,
        last_seen_at=now,
    )
    agent.refresh_from_db()
    expire_earlier_boots(agent)
    announce_agents()


def hear_heartbeat(agent: Agent, message: Heartbeat) -> HeartbeatReply:
    """Note that the agent lives, renew its leases, tell it what to stop and what to make warm."""
    if agent.boot_id != message.boot_id:
        lost = tuple(item.attempt_id for item in message.attempts)
        return HeartbeatReply(known=False, lost=lost, cancel=())
    warm = list(message.warm)
    begins_to_leave = message.leaving and not agent.is_draining
    is_other = warm != agent.warm or message.ready != agent.is_ready
    changed = is_other or begins_to_leave or not is_connected(agent)
    Agent.objects.filter(pk=agent.pk, boot_id=message.boot_id).update(
        warm=warm,
        is_ready=message.ready,
        is_draining=agent.is_draining or message.leaving,
        last_seen_at=timezone.now(),
    )
    renewal = renew_leases(agent, message.attempts)
    if changed:
        with transaction.atomic():
            announce_agents()
            wake_dispatcher_for_agents()
    preload = () if message.ready else _preload(agent)
    return HeartbeatReply(known=True, lost=renewal.lost, cancel=renewal.cancel, preload=preload)


def _preload(agent: Agent) -> tuple[ModelRef, ...]:
    """Models for an agent that is still cold: the oldest public ones. Demand will decide later."""
    versions = ModelVersion.objects.filter(asset__organization=None).select_related("asset")
    return tuple(model_ref(agent, version) for version in versions.order_by("id")[:PRELOAD_MAX])


def is_connected(agent: Agent) -> bool:
    """Whether the agent has been heard of within a lease's time."""
    limit = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    return agent.last_seen_at is not None and agent.last_seen_at > limit
