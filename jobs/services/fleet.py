"""Agents: made known, registered at each start, heard of at each heartbeat."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.services.tokens import hash_token
from gpuagent.protocol.messages import Heartbeat, HeartbeatReply, ModelRef, Register
from gpuagent.protocol.taxonomy import MODELS
from jobs.announcements import announce_agents, wake_dispatcher_for_agents
from jobs.fleet_codes import FleetCode
from jobs.models import Agent
from jobs.preloading import wish_for
from jobs.services.claiming import model_ref
from jobs.services.fleet_events import note
from jobs.services.fleet_pins import pinned_to
from jobs.services.fleet_reports import (
    CLASS_MAX,
    read_code,
    read_labels,
    read_residents,
    read_telemetry,
    read_text,
)
from jobs.services.leasing import expire_earlier_boots, renew_leases
from library.models import ModelVersion

AGENT_PREFIX = "sta_"
PRELOAD_MAX = 2
# Of an agent that says it is sick in words that cannot be read.
UNKNOWN_SICKNESS = "unknown"


def new_agent_token() -> str:
    """The plain text of an agent's token; its hash is kept."""
    return AGENT_PREFIX + secrets.token_urlsafe(32)


def create_agent(name: str, *, is_local: bool) -> tuple[Agent, str]:
    """An agent and its new token, shown once; an existing name gets a new token."""
    plain = new_agent_token()
    agent, _made = Agent.objects.update_or_create(
        name=name, defaults={"token_hash": hash_token(plain), "is_local": is_local}
    )
    return agent, plain


def find_agent(plain: str) -> Agent | None:
    """The agent with this token."""
    if not plain.startswith(AGENT_PREFIX):
        return None
    return Agent.objects.filter(token_hash=hash_token(plain), removed_at=None).first()


@transaction.atomic
def register_agent(agent: Agent, message: Register) -> None:
    """A process of this agent has started: note what it is, end what its last life held.

    What operators have said of it stays: its state, and its labels once it has been here.
    """
    now = timezone.now()
    is_first = agent.registered_at is None
    labels = read_labels([*agent.labels, *message.labels]) if is_first else agent.labels
    Agent.objects.filter(pk=agent.pk).update(
        boot_id=message.boot_id,
        fingerprint=message.fingerprint,
        device=message.device,
        memory_bytes=message.memory_bytes,
        gpu_class=read_text(message.gpu_class or message.device, CLASS_MAX),
        labels=labels,
        warm=[],
        telemetry={},
        residents=[],
        sick_code="",
        is_ready=False,
        is_draining=False,
        registered_at=now,
        last_seen_at=now,
    )
    agent.refresh_from_db()
    note(agent, FleetCode.REGISTERED, {"memory_bytes": agent.memory_bytes})
    expire_earlier_boots(agent)
    announce_agents()


def hear_heartbeat(agent: Agent, message: Heartbeat) -> HeartbeatReply:
    """Note that the agent lives, renew its leases, tell it what to stop and what to make warm."""
    if agent.boot_id != message.boot_id:
        lost = tuple(item.attempt_id for item in message.attempts)
        return HeartbeatReply(known=False, lost=lost, cancel=())
    warm = list(message.warm)
    sick_code = (read_code(message.sick_code) or UNKNOWN_SICKNESS) if message.sick_code else ""
    codes = _news(agent, message, sick_code)
    changed = codes or warm != agent.warm or message.ready != agent.is_ready
    Agent.objects.filter(pk=agent.pk, boot_id=message.boot_id).update(
        warm=warm,
        is_ready=message.ready,
        is_draining=agent.is_draining or message.leaving,
        sick_code=sick_code,
        telemetry=read_telemetry(message.telemetry),
        residents=read_residents(message.residents),
        last_seen_at=timezone.now(),
    )
    renewal = renew_leases(agent, message.attempts)
    if changed:
        with transaction.atomic():
            for code in codes:
                note(agent, code, {"code": sick_code} if code is FleetCode.SICK else {})
            announce_agents()
            wake_dispatcher_for_agents()
    preload = _preload(agent, warm, is_ready=message.ready)
    return HeartbeatReply(
        known=True,
        lost=renewal.lost,
        cancel=renewal.cancel,
        yields=renewal.yields,
        preload=preload,
    )


def _news(agent: Agent, message: Heartbeat, sick_code: str) -> list[FleetCode]:
    """What this heartbeat tells that the one before did not."""
    codes = []
    if not is_connected(agent):
        codes.append(FleetCode.RETURNED)
    if message.leaving and not agent.is_draining:
        codes.append(FleetCode.LEAVING)
    if sick_code and sick_code != agent.sick_code:
        codes.append(FleetCode.SICK)
    if agent.sick_code and not sick_code:
        codes.append(FleetCode.WELL)
    return codes


def _preload(agent: Agent, warm: list[str], *, is_ready: bool) -> tuple[ModelRef, ...]:
    """What to make warm, the most wanted first: what operators have pinned here, what is to stay,
    what the dispatcher wishes; for one that is cold, the oldest public.

    Who holds all that it should is told nothing.
    """
    if not agent.is_accepting:
        return ()
    pinned, wish = pinned_to(agent), wish_for(agent)
    wished = () if wish is None or wish.digest in warm else (*wish.keep, wish.digest)
    if is_ready and not wished and all(version.digest in warm for version in pinned):
        return ()
    versions = ModelVersion.objects.select_related("asset")
    by_digest = {version.digest: version for version in versions.filter(digest__in=wished)}
    named = [by_digest[digest] for digest in wished if digest in by_digest]
    public = versions.filter(asset__organization=None, asset__kind__in=MODELS).order_by("id")
    oldest = [] if is_ready else list(public[:PRELOAD_MAX])
    wanted = {version.digest: version for version in (*pinned, *named, *oldest)}
    return tuple(model_ref(agent, version) for version in wanted.values())


def is_connected(agent: Agent) -> bool:
    """Whether the agent has been heard of within a lease's time."""
    limit = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    return agent.last_seen_at is not None and agent.last_seen_at > limit
