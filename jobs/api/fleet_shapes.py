"""Shapes of the API's calls about the fleet."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.fleet_runs import WaitStats
from jobs.fleet_state import CONDITIONS, AgentLine, FleetState, TierLine, Work
from jobs.fleet_waits import NONE_FITS, ClassLoad
from jobs.lifecycle import AgentState
from jobs.models import FleetEvent, FleetPolicy, JoinToken, ModelPin, OrganizationShare
from jobs.objectives import OBJECTIVES
from jobs.scheduling import Tier
from jobs.services.fleet_agents import name_of
from jobs.services.fleet_joining import can_join

STATES = [state.value for state in AgentState]


class WorkSerializer(serializers.Serializer[Any]):
    """A job that an agent holds, by its kind; never whose, nor what it is about."""

    tier = serializers.CharField()
    status = serializers.ChoiceField(choices=["running", "loading", "staged"])
    kind = serializers.ChoiceField(choices=["text_to_picture", "picture_to_picture"])
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    count = serializers.IntegerField()
    model = serializers.CharField()
    since = serializers.DateTimeField()


class FleetAgentSerializer(serializers.Serializer[Any]):
    """An agent: `state` is what operators want of it, `condition` how it is."""

    id = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)
    condition = serializers.ChoiceField(choices=CONDITIONS)
    sick_code = serializers.CharField()
    gpu_class = serializers.CharField()
    device = serializers.CharField()
    labels = serializers.ListField(child=serializers.CharField())
    memory_bytes = serializers.IntegerField()
    telemetry = serializers.DictField()
    residents = serializers.ListField(child=serializers.DictField())
    warm = serializers.ListField(child=serializers.CharField())
    hits = serializers.DictField(child=serializers.FloatField())
    work = WorkSerializer(many=True)
    registered_at = serializers.DateTimeField(allow_null=True)
    last_seen_at = serializers.DateTimeField(allow_null=True)


class AgentChangesSerializer(serializers.Serializer[Any]):
    """What `PATCH fleet/agents/{agent_id}` takes; what is left out stays."""

    state = serializers.ChoiceField(required=False, choices=STATES)
    labels = serializers.ListField(required=False, child=serializers.CharField())


class RunStatsSerializer(serializers.Serializer[Any]):
    """Seconds of the jobs that ended within a time; `kept`: within the objective's wait."""

    runs = serializers.IntegerField()
    wait_p50 = serializers.FloatField(allow_null=True)
    wait_p95 = serializers.FloatField(allow_null=True)
    whole_p50 = serializers.FloatField(allow_null=True)
    whole_p95 = serializers.FloatField(allow_null=True)
    kept = serializers.FloatField(allow_null=True)


class FleetTierSerializer(serializers.Serializer[Any]):
    """A tier's queue, its predicted wait, and what was."""

    tier = serializers.CharField()
    queued = serializers.IntegerField()
    queued_seconds = serializers.FloatField()
    running = serializers.IntegerField()
    predicted_wait_seconds = serializers.FloatField()
    objective_wait_seconds = serializers.FloatField(allow_null=True)
    objective_whole_seconds = serializers.FloatField(allow_null=True)
    last_hour = RunStatsSerializer(allow_null=True)
    last_day = RunStatsSerializer(allow_null=True)


class FleetClassSerializer(serializers.Serializer[Any]):
    """What waits for one kind of GPU; `gpu_class` null: for none that there is."""

    gpu_class = serializers.CharField(allow_null=True)
    agents = serializers.IntegerField()
    queued_seconds = serializers.DictField(child=serializers.FloatField())
    predicted_wait_seconds = serializers.DictField(child=serializers.FloatField())


class FleetSerializer(serializers.Serializer[Any]):
    """The fleet at one moment."""

    at = serializers.DateTimeField()
    tiers = FleetTierSerializer(many=True)
    classes = FleetClassSerializer(many=True)
    agents = serializers.DictField(child=serializers.IntegerField(), help_text="By condition.")


class FleetEventSerializer(serializers.Serializer[Any]):
    """Something that happened to an agent."""

    id = serializers.CharField()
    at = serializers.DateTimeField()
    agent = serializers.CharField(allow_null=True)
    agent_name = serializers.CharField()
    code = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # DRF takes declared fields away
    by = serializers.CharField(allow_null=True)


class PinSerializer(serializers.Serializer[Any]):
    """A model that is kept warm on so many agents, those with the label if there is one."""

    version = serializers.CharField()
    digest = serializers.CharField()
    name = serializers.CharField()
    agents = serializers.IntegerField()
    label = serializers.CharField()  # type: ignore[assignment]  # DRF takes declared fields away


class NewPinSerializer(serializers.Serializer[Any]):
    """What `PUT fleet/pins/{version_id}` takes."""

    agents = serializers.IntegerField(required=False, default=1)
    label = serializers.CharField(required=False)  # type: ignore[assignment]  # as above


class FleetShareSerializer(serializers.Serializer[Any]):
    """An organization's part: its weight, and how many jobs may be on agents at once."""

    organization = serializers.CharField()
    name = serializers.CharField()
    weight = serializers.FloatField()
    jobs_at_once = serializers.IntegerField(allow_null=True)
    jobs_at_once_per_member = serializers.IntegerField(allow_null=True)


class ShareChangesSerializer(serializers.Serializer[Any]):
    """What `PATCH fleet/shares/{customer_id}` takes; null lifts a limit."""

    weight = serializers.FloatField(required=False)
    jobs_at_once = serializers.IntegerField(required=False, allow_null=True)
    jobs_at_once_per_member = serializers.IntegerField(required=False, allow_null=True)


class FleetPolicySerializer(serializers.Serializer[Any]):
    """What operators have set; a tier that is missing, or null, is the scheduler's default."""

    reserved_shares = serializers.DictField(required=False, child=serializers.FloatField())
    floor_agents = serializers.IntegerField(required=False, allow_null=True)
    floor_seconds = serializers.FloatField(required=False, allow_null=True)
    window_seconds = serializers.FloatField(required=False, allow_null=True)


class JoinTokenSerializer(serializers.Serializer[Any]):
    """A join token without its text."""

    id = serializers.CharField()
    labels = serializers.ListField(child=serializers.CharField())
    uses_left = serializers.IntegerField()
    can_join = serializers.BooleanField()
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewJoinTokenSerializer(serializers.Serializer[Any]):
    """What `POST fleet/join-tokens` takes."""

    labels = serializers.ListField(required=False, child=serializers.CharField())
    uses = serializers.IntegerField(required=False, default=1)
    hours = serializers.IntegerField(required=False, default=24)


class MadeJoinTokenSerializer(JoinTokenSerializer):
    """A new one: its text and the command with it are told this once."""

    token = serializers.CharField()
    command = serializers.CharField()


def fleet_json(state: FleetState) -> dict[str, Any]:
    """The fleet as JSON."""
    conditions = [line.condition for line in state.agents]
    return {
        "at": state.at,
        "tiers": [_tier_json(line) for line in state.tiers],
        "classes": [_class_json(each) for each in state.classes],
        "agents": {name: conditions.count(name) for name in CONDITIONS if name in conditions},
    }


def agent_json(line: AgentLine) -> dict[str, Any]:
    """An agent as JSON."""
    agent = line.agent
    return {
        "id": agent.pk,
        "name": agent.name,
        "state": agent.state,
        "condition": line.condition,
        "sick_code": agent.sick_code,
        "gpu_class": agent.gpu_class,
        "device": agent.device,
        "labels": agent.labels,
        "memory_bytes": agent.memory_bytes,
        "telemetry": agent.telemetry,
        "residents": agent.residents,
        "warm": line.warm,
        "hits": line.hits,
        "work": [_work_json(work) for work in line.work],
        "registered_at": agent.registered_at,
        "last_seen_at": agent.last_seen_at,
    }


def event_json(event: FleetEvent) -> dict[str, Any]:
    """An event as JSON."""
    return {
        "id": event.pk,
        "at": event.at,
        "agent": event.agent_id,
        "agent_name": name_of(event.agent) if event.agent else "",
        "code": event.code,
        "data": event.data,
        "by": event.by_id,
    }


def pin_json(pin: ModelPin) -> dict[str, Any]:
    """A pin as JSON."""
    version = pin.model_version
    return {
        "version": version.pk,
        "digest": version.digest,
        "name": version.asset.name,
        "agents": pin.agents,
        "label": pin.label,
    }


def share_json(name: str, share: OrganizationShare) -> dict[str, Any]:
    """A part as JSON."""
    return {
        "organization": share.organization_id,
        "name": name,
        "weight": share.weight,
        "jobs_at_once": share.jobs_at_once,
        "jobs_at_once_per_member": share.jobs_at_once_per_member,
    }


def policy_json(policy: FleetPolicy) -> dict[str, Any]:
    """What is set as JSON."""
    return {
        "reserved_shares": policy.reserved_shares,
        "floor_agents": policy.floor_agents,
        "floor_seconds": policy.floor_seconds,
        "window_seconds": policy.window_seconds,
    }


def join_token_json(token: JoinToken) -> dict[str, Any]:
    """A join token as JSON."""
    return {
        "id": token.pk,
        "labels": token.labels,
        "uses_left": token.uses_left,
        "can_join": can_join(token),
        "created_by": token.created_by_id,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }


def _work_json(work: Work) -> dict[str, Any]:
    return {
        "tier": work.tier,
        "status": work.status,
        "kind": work.kind,
        "width": work.width,
        "height": work.height,
        "count": work.count,
        "model": work.model,
        "since": work.since,
    }


def _tier_json(line: TierLine) -> dict[str, Any]:
    objective = OBJECTIVES.get(line.tier)
    return {
        "tier": line.tier.value,
        "queued": line.queued,
        "queued_seconds": round(line.queued_seconds, 3),
        "running": line.running,
        "predicted_wait_seconds": round(line.predicted_seconds, 3),
        "objective_wait_seconds": objective.wait_seconds if objective else None,
        "objective_whole_seconds": objective.whole_seconds if objective else None,
        "last_hour": _stats_json(line.hour),
        "last_day": _stats_json(line.day),
    }


def _stats_json(stats: WaitStats | None) -> dict[str, Any] | None:
    if stats is None:
        return None
    return {
        "runs": stats.runs,
        "wait_p50": stats.wait_p50,
        "wait_p95": stats.wait_p95,
        "whole_p50": stats.whole_p50,
        "whole_p95": stats.whole_p95,
        "kept": stats.kept,
    }


def _class_json(load: ClassLoad) -> dict[str, Any]:
    return {
        "gpu_class": None if load.gpu_class == NONE_FITS else load.gpu_class,
        "agents": load.machines,
        "queued_seconds": {tier.value: round(load.seconds.get(tier, 0.0), 3) for tier in Tier},
        "predicted_wait_seconds": {tier.value: round(load.waits[tier], 3) for tier in Tier},
    }
