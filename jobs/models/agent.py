"""Agent: a registered GPU process. Belongs to the installation, not to an organization."""

from __future__ import annotations

from django.db import models

from jobs.lifecycle import AgentState
from studio.core.ids import IdField


class Agent(models.Model):
    """A machine's process that makes pictures; lost when its heartbeat stops.

    `boot_id` changes at every start of the process: attempts of an earlier boot are over.
    `warm` lists digests of resident models; `memory_bytes` is for weights and activations.
    `state` is what operators want of it, `is_draining` what it says of itself, `sick_code` why it
    took itself out. `telemetry` and `residents` are as its last heartbeat said.
    """

    id = IdField(prefix="agt")
    name = models.CharField(max_length=80, unique=True)
    token_hash = models.CharField(max_length=64, unique=True)
    is_local = models.BooleanField(default=False)
    boot_id = models.CharField(max_length=64, blank=True)
    fingerprint = models.JSONField(default=dict)
    device = models.CharField(max_length=120, blank=True)
    memory_bytes = models.BigIntegerField(default=0)
    warm = models.JSONField(default=list)
    is_ready = models.BooleanField(default=False)
    is_draining = models.BooleanField(default=False)
    state = models.CharField(
        max_length=16,
        choices=[(s.value, s.value) for s in AgentState],
        default=AgentState.SERVING.value,
    )
    sick_code = models.CharField(max_length=64, blank=True)
    labels = models.JSONField(default=list)
    gpu_class = models.CharField(max_length=80, blank=True)
    telemetry = models.JSONField(default=dict)
    residents = models.JSONField(default=list)
    removed_at = models.DateTimeField(null=True)
    registered_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)

    @property
    def is_accepting(self) -> bool:
        """Whether it may be given work; `jobs.selectors.accepting_agents` is the same as SQL."""
        is_wanted = self.state == AgentState.SERVING.value and self.removed_at is None
        return is_wanted and not self.is_draining and not self.sick_code

    @property
    def namespace(self) -> str:
        """Its Redis namespace: the one queue it reads."""
        return f"agent:{self.pk}"

    @property
    def group(self) -> str:
        """The channel-layer group of its socket."""
        return f"agent.{self.pk}"


class SchedulerState(models.Model):
    """The dispatcher's fair-share accounts, kept across restarts. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    state = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)
