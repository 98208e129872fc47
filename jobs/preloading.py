"""What idle agents should load before anybody asks: from the scheduler to their heartbeats.

The dispatcher writes wishes into the snapshot of the fleet; whoever answers a heartbeat reads there
what is wished of that agent. Wishes fade: an agent must not follow a dispatcher that is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db.models.fields.json import KeyTransform
from django.utils import timezone

from jobs.models import Agent, FleetSnapshot
from jobs.scheduling import AgentView, Placement, Popularity, Preload, Queue, preload
from library.models import ModelVersion

EVERY_SECONDS = 5.0
FADE_AFTER = timedelta(seconds=60)
SAY_AGAIN_SECONDS = 20.0
GPU = "gpu"
KEY = "preload"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Load this model; what of the others is to stay beside it."""

    digest: str
    keep: tuple[str, ...]


class Preloading:
    """The dispatcher's memory of what was asked for, and of what it wished last."""

    def __init__(self, popularity: Popularity | None = None) -> None:
        self.popularity = popularity or Popularity()
        self._sizes: dict[str, int] = {}
        self._said: dict[str, Any] | None = None
        self._said_at = self._thought_at = -SAY_AGAIN_SECONDS

    def note(self, placement: Placement, *, now: float) -> None:
        """A job for a model was given to an agent."""
        self.popularity.note(placement.job.model_digest, placement.job.cost_seconds, at=now)

    def publish(
        self, queue: Queue, agents: Sequence[Agent], seen: Sequence[AgentView], *, now: float
    ) -> None:
        """Wish anew, if it is time to. Pins are seen to by who answers heartbeats."""
        if time.monotonic() - self._thought_at < EVERY_SECONDS:
            return
        self._thought_at = time.monotonic()
        asked = {digest for _, digest in queue.everything.demand}
        sizes = self._sizes_of(asked | self.popularity.hourly.keys())
        views = [
            replace(view, resident_order=tuple(agent.warm), room=_room(agent, sizes))
            for agent, view in zip(agents, seen, strict=True)
        ]
        found = preload(
            queue,
            views,
            popularity=self.popularity,
            memory_bytes=sizes,
            now=now,
            with_pins=False,
        )
        resident = {view.id: view.resident_order for view in views}
        self._say({one.agent_id: _to_json(one, resident[one.agent_id]) for one in found})

    def to_json(self, *, now: float) -> dict[str, Any]:
        """What was asked for, to be kept."""
        self.popularity.forget_old(at=now)
        return self.popularity.to_json()

    def _say(self, wishes: dict[str, Any]) -> None:
        is_old = time.monotonic() - self._said_at >= SAY_AGAIN_SECONDS
        if wishes == self._said and not (wishes and is_old):
            return
        FleetSnapshot.objects.update_or_create(pk=1, defaults={"data": {KEY: wishes}})
        self._said, self._said_at = wishes, time.monotonic()

    def _sizes_of(self, digests: Collection[str]) -> dict[str, int]:
        """Bytes of weights, by digest: what a digest stands for never changes."""
        unknown = set(digests) - self._sizes.keys()
        if unknown:
            found = ModelVersion.objects.filter(digest__in=unknown)
            self._sizes |= dict(found.values_list("digest", "weights_bytes"))
        return {digest: self._sizes[digest] for digest in digests if digest in self._sizes}


def read_popularity(saved: Mapping[str, Any] | None) -> Popularity:
    """What was kept; nothing if there is none, or none that can be read."""
    try:
        return Popularity.from_json((saved or {})["popularity"])
    except (KeyError, TypeError, ValueError):
        return Popularity()


def wish_for(agent: Agent) -> Wish | None:
    """What the dispatcher wishes of this agent, if it has wished lately."""
    fresh = FleetSnapshot.objects.filter(pk=1, at__gt=timezone.now() - FADE_AFTER)
    wished = fresh.annotate(wish=KeyTransform(agent.pk, KeyTransform(KEY, "data")))
    raw = wished.values_list("wish", flat=True).first()
    if not isinstance(raw, dict):
        return None
    return Wish(digest=str(raw["digest"]), keep=tuple(raw["keep"]))


def _to_json(one: Preload, resident: Sequence[str]) -> dict[str, Any]:
    return {"digest": one.model_digest, "keep": [d for d in resident if d != one.evict]}


def _room(agent: Agent, sizes: Mapping[str, int]) -> int:
    """How many more models fit surely, by what the agent says it holds."""
    held = sum(item["bytes"] for item in agent.residents if item["place"] == GPU)
    largest = max((size for size in sizes.values() if size <= agent.memory_bytes), default=0)
    return max(0, agent.memory_bytes - held) // largest if largest else 0
