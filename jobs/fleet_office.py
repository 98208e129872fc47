"""What the pages of the fleet are given: numbers in words, rows for templates. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jobs.fleet_codes import say
from jobs.fleet_runs import WaitStats
from jobs.fleet_state import AgentLine, FleetState, TierLine, Work
from jobs.fleet_waits import NONE_FITS, ClassLoad
from jobs.models import Agent, FleetEvent
from jobs.objectives import OBJECTIVES
from jobs.scheduling import Tier
from jobs.services.fleet_agents import name_of

HISTORY_SHOWN = 30
BAR = 1000  # the width of a memory bar, in its own units
# The condition in words, and how good the news is.
CONDITION_WORDS: Mapping[str, tuple[str, str]] = {
    "working": ("Working", "good"),
    "idle": ("Idle", "good"),
    "loading": ("Loading its first model", "wait"),
    "leaving": ("Shutting down", "wait"),
    "draining": ("Draining", "wait"),
    "drained": ("Drained", "off"),
    "maintenance": ("Maintenance", "off"),
    "stopped": ("Stopped", "off"),
    "lost": ("Not heard of", "bad"),
    "sick": ("Took itself out", "bad"),
    "new": ("Not started yet", "off"),
}
KIND_WORDS = {"text_to_picture": "from text", "picture_to_picture": "from a picture"}
WORK_WORDS = {"running": "making", "loading": "loading for", "staged": "next"}
PLACE_WORDS = {
    "gpu": "on the GPU",
    "host": "in host memory",
    "disk": "on disk",
    "store": "in the store",
}


def in_seconds(seconds: float | None) -> str:
    """A length of time, as exact as it matters."""
    if seconds is None:
        return "–"
    if 0.05 <= seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def board_context(state: FleetState, *, can_manage: bool) -> dict[str, Any]:
    """The live part of the page."""
    counts: dict[str, int] = {}
    for line in state.agents:
        counts[line.condition] = counts.get(line.condition, 0) + 1
    takes_work = any(each.machines for each in state.classes)
    return {
        "at": state.at,
        "tiers": [_tier_row(line, takes_work=takes_work) for line in state.tiers],
        "takes_work": takes_work,
        "has_runs": any(line.day for line in state.tiers),
        "classes": [_class_row(each) for each in state.classes],
        "machines": [agent_row(line, now=state.at) for line in state.agents],
        "counts": [f"{n} {CONDITION_WORDS[name][0].lower()}" for name, n in counts.items()],
        "events": history(),
        "can_manage": can_manage,
    }


def agent_row(line: AgentLine, *, now: datetime) -> dict[str, Any]:
    """An agent for pages."""
    agent = line.agent
    words, mood = CONDITION_WORDS[line.condition]
    return {
        "id": agent.pk,
        "name": agent.name,
        "condition": line.condition,
        "words": f"{words}: {agent.sick_code}" if agent.sick_code else words,
        "mood": mood,
        "state": agent.state,
        "gpu_class": agent.gpu_class or agent.device or "unknown GPU",
        "labels": agent.labels,
        "last_seen_at": agent.last_seen_at,
        "memory": memory_row(agent),
        "readings": _readings(agent.telemetry),
        "throttled": agent.telemetry.get("throttled", []),
        "work": [_work_row(work, now) for work in line.work],
        "warm": line.warm,
        "hits": _hits(line.hits),
    }


def memory_row(agent: Agent) -> dict[str, Any]:
    """A bar of its memory: a part for each kind of component, and what else is in use."""
    total = agent.memory_bytes
    parts: dict[str, int] = {}
    for item in agent.residents:
        if item["place"] == "gpu":
            parts[item["component"]] = parts.get(item["component"], 0) + item["bytes"]
    held = sum(parts.values())
    used = max(int(agent.telemetry.get("memory_used_bytes", 0)), held)
    if used > held:
        parts["other"] = used - held
    shown, at = [], 0.0
    whole = max(total, used, 1)
    for name, size in sorted(parts.items(), key=lambda part: (part[0] == "other", -part[1])):
        width = size / whole * BAR
        shown.append(
            {
                "name": name.replace("_", " "),
                "kind": _kind(name),
                "bytes": size,
                "x": f"{at:.1f}",
                "width": f"{width:.1f}",
            }
        )
        at += width
    return {"total": total, "used": used, "parts": shown, "is_known": bool(used)}


def history(agent: Agent | None = None) -> list[dict[str, Any]]:
    """What happened lately, newest first; of one agent or of all."""
    events = FleetEvent.objects.select_related("agent", "by")
    if agent is not None:
        events = events.filter(agent=agent)
    return [
        {
            "id": event.pk,
            "at": event.at,
            "agent": name_of(event.agent) if event.agent else "",
            "words": say(event.code),
            "note": _event_note(event.data),
            "by": event.by.shown_name if event.by else "",
        }
        for event in events.order_by("-at", "-pk")[:HISTORY_SHOWN]
    ]


def _event_note(data: Mapping[str, Any]) -> str:
    notes = []
    if data.get("code"):
        notes.append(str(data["code"]))
    if "labels" in data:
        notes.append(", ".join(data["labels"]) or "none")
    if data.get("given_back"):
        notes.append(f"{data['given_back']} given back to the queue")
    return "; ".join(notes)


def _tier_row(line: TierLine, *, takes_work: bool) -> dict[str, Any]:
    objective = OBJECTIVES.get(line.tier)
    limit = objective.wait_seconds if objective else None
    is_late = not takes_work or (limit is not None and line.predicted_seconds > limit)
    return {
        "tier": line.tier.value,
        "name": line.tier.value.capitalize(),
        "queued": line.queued,
        "queued_time": in_seconds(line.queued_seconds),
        "running": line.running,
        "predicted": in_seconds(line.predicted_seconds) if takes_work else "no end",
        "is_predicted_late": is_late,
        "goal": f"< {in_goal(limit)}" if limit is not None else "none",
        "whole_goal": f"< {in_goal(objective.whole_seconds)}" if objective else "none",
        "spans": [
            _span("last hour", line.hour, line.tier),
            _span("last day", line.day, line.tier),
        ],
    }


def in_goal(seconds: float) -> str:
    """An objective: round numbers."""
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _span(name: str, stats: WaitStats | None, tier: Tier) -> dict[str, Any]:
    if stats is None or not stats.runs:
        return {"name": name, "runs": 0}
    objective = OBJECTIVES.get(tier)
    wait, whole = stats.wait_p95, stats.whole_p95
    return {
        "name": name,
        "runs": stats.runs,
        "wait": f"{in_seconds(stats.wait_p50)} / {in_seconds(wait)}",
        "whole": f"{in_seconds(stats.whole_p50)} / {in_seconds(whole)}",
        "kept": "" if stats.kept is None else f"{int(stats.kept * 1000) / 10:g} %",
        "is_wait_late": bool(objective and wait and wait > objective.wait_seconds),
        "is_whole_late": bool(objective and whole and whole > objective.whole_seconds),
    }


def _class_row(load: ClassLoad) -> dict[str, Any]:
    return {
        "name": "No machine can take it" if load.gpu_class == NONE_FITS else load.gpu_class,
        "fits": load.gpu_class != NONE_FITS,
        "machines": load.machines,
        "waits": [
            {
                "tier": tier.value.capitalize(),
                "wait": in_seconds(load.waits[tier]),
                "queued": in_seconds(load.seconds.get(tier, 0.0)),
            }
            for tier in Tier
        ],
    }


def _work_row(work: Work, now: datetime) -> dict[str, Any]:
    return {
        "tier": work.tier.capitalize(),
        "doing": WORK_WORDS[work.status],
        "kind": KIND_WORDS[work.kind],
        "size": f"{work.width} × {work.height}",
        "count": work.count,
        "model": work.model,
        "age": in_seconds((now - work.since).total_seconds()),
    }


def _readings(telemetry: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    if "utilization" in telemetry:
        found.append({"name": "busy", "value": f"{telemetry['utilization'] * 100:.0f} %"})
    if "temperature_c" in telemetry:
        found.append({"name": "", "value": f"{telemetry['temperature_c']:.0f} °C"})
    if "power_w" in telemetry:
        found.append({"name": "", "value": f"{telemetry['power_w']:.0f} W"})
    if "plan_error" in telemetry:
        value = f"± {telemetry['plan_error'] * 100:.0f} %"
        found.append({"name": "of what memory plans foresaw", "value": value})
    return found


def _hits(hits: Mapping[str, float]) -> list[str]:
    order = list(PLACE_WORDS)
    known = sorted(hits.items(), key=lambda hit: order.index(hit[0]) if hit[0] in order else 9)
    return [f"{PLACE_WORDS.get(place, place)} {part * 100:.0f} %" for place, part in known]


def _kind(component: str) -> str:
    """Which of the few colors a component has."""
    for kind, words in _KINDS.items():
        if any(word in component for word in words):
            return kind
    return "other" if component == "other" else "more"


_KINDS: Mapping[str, Sequence[str]] = {
    "denoiser": ("unet", "transformer", "dit"),
    "text": ("text", "encoder", "clip", "t5"),
    "vae": ("vae", "decoder"),
    "extra": ("lora", "control", "adapter"),
}


def chosen(labels: Iterable[str]) -> str:
    """Labels as somebody writes them."""
    return ", ".join(labels)
