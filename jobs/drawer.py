"""The queue drawer: its rows, and what is said about waiting, in plain words. Reads only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.urls import reverse

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol.sealing import SealBrokenError
from jobs.explanations import Why, watch, why_of
from jobs.lifecycle import JOB_OPEN, JobStatus
from jobs.messages import failure_sentence
from jobs.models import Job
from jobs.recipes import open_recipe
from jobs.scheduling import WaitReason
from jobs.selectors import (
    agent_names,
    count_open,
    made_counts,
    recently_ended,
    running_jobs,
    waiting_jobs,
)
from jobs.services.retrying import RETRYABLE
from jobs.wording import about, amount, listing, plural, tier_name, undrawn_name
from workspaces.models import Workspace

GIB = 1024**3


def queue_context(workspace: Workspace, actor: Actor) -> dict[str, Any]:
    """What runs, what waits (one's own in its order), and what of one's own ended badly lately."""
    watch(workspace.pk)
    running = running_jobs(workspace)
    mine, others = waiting_jobs(workspace, actor.user_id)
    ended = recently_ended(workspace, actor.user_id)
    jobs = [*running, *mine, *others, *ended]
    made = made_counts(jobs)
    whys = why_of(workspace.pk, [job.pk for job in (*mine, *others) if job.paused_at is None])
    names = agent_names({why.agent for why in whys.values() if why.agent})

    def rows(some: Sequence[Job]) -> list[dict[str, Any]]:
        return [
            queue_row(job, actor, done=made.get(job.pk, 0), why=whys.get(job.pk), names=names)
            for job in some
        ]

    total_mine, total = count_open(workspace, actor.user_id)
    hidden = total - len(running) - len(mine) - len(others)
    return {
        "groups": [
            group
            for group in (
                {"name": "running", "title": "Being made", "rows": rows(running)},
                {"name": "mine", "title": "Yours, waiting", "rows": _ranked(rows(mine))},
                {"name": "others", "title": "Of others, waiting", "rows": rows(others)},
                {"name": "ended", "title": "Ended", "rows": rows(ended)},
            )
            if group["rows"]
        ],
        "mine": total_mine,
        "total": total,
        "hidden": hidden,
    }


def queue_row(
    job: Job,
    actor: Actor,
    *,
    done: int,
    why: Why | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A line of the queue; only its owner sees the prompt."""
    is_mine = job.created_by_id == actor.user_id
    is_waiting = job.status == JobStatus.QUEUED.value
    is_canceling = job.cancel_requested_at is not None and job.status in JOB_OPEN
    can_steer = actor.can(Permission.JOB_CANCEL) and (
        is_mine or actor.can(Permission.WORKSPACE_MANAGE)
    )
    address = {
        name: reverse(f"job-{name}", args=[job.workspace_id, job.pk])
        for name in ("cancel", "pause", "resume", "move", "retry")
    }
    return {
        "job_id": job.pk,
        "prompt": _prompt(job) if is_mine else None,
        "status": job.status,
        "is_paused": is_waiting and job.paused_at is not None,
        "count": job.count,
        "done": done,
        "tier": job.tier,
        "tier_name": tier_name(job.tier),
        "starts": _starts(why),
        "created_at": job.submitted_at,
        "can_cancel": actor.can(Permission.JOB_CANCEL)
        and job.status in JOB_OPEN
        and not is_canceling,
        "can_pause": can_steer and is_waiting,
        "can_move": can_steer and is_mine and is_waiting,
        "can_retry": actor.can(Permission.JOB_SUBMIT) and job.status in RETRYABLE,
        "urls": address,
        "reason": "Canceling…" if is_canceling else _reason(job, why, names or {}),
    }


def _ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say of each which it is of how many in its line, and which ways it can go."""
    lines = {row["tier"]: [r for r in rows if r["tier"] == row["tier"]] for row in rows}
    for line in lines.values():
        for place, row in enumerate(line, start=1):
            row["place"], row["of"] = place, len(line)
            row["is_first"], row["is_last"] = place == 1, place == len(line)
    return rows


def _prompt(job: Job) -> str:
    try:
        recipe = open_recipe(job)
        return recipe.prompt or undrawn_name(recipe)
    except SealBrokenError:
        return ""


def _reason(job: Job, why: Why | None, names: Mapping[str, str]) -> str | None:
    if job.status == JobStatus.FAILED.value:
        return failure_sentence(job.error_code, job.error_data)
    if job.status != JobStatus.QUEUED.value or why is None or job.paused_at is not None:
        return None
    return why_sentence(why, agent_name=names.get(why.agent or "", ""))


def _starts(why: Why | None) -> str:
    """When it may start: what was said, less the time since."""
    if why is None or why.starts_in is None:
        return ""
    return about(max(0.0, why.starts_in - max(0.0, time.time() - why.at)))


def why_sentence(why: Why, *, agent_name: str) -> str:
    """Why a job waits. A code that a newer release knows is said in general words."""
    sentence = _obstacle(why) or _who_is_first(why)
    if why.load_seconds > 0 and agent_name and why.starts_in is not None:
        loading = f"the model loads on {agent_name} in {amount(why.load_seconds)}"
        return f"{sentence}; then {loading}" if why.jobs_ahead else f"{sentence}; {loading}"
    return sentence


def _obstacle(why: Why) -> str:
    """What no patience helps with."""
    data = why.data
    match why.code:
        case WaitReason.NO_AGENT:
            return "No agent is connected; it starts when one is"
        case WaitReason.AGENT_DRAINING:
            return "The agents that could take it are being taken out of service"
        case WaitReason.DOES_NOT_FIT:
            needed, largest = (_gib(data.get(k)) for k in ("needed_bytes", "largest_bytes"))
            return f"Needs {needed} GiB; the largest agent has {largest} GiB"
        case WaitReason.MISSING_LABEL:
            return f"Waits for an agent with the label {data.get('labels', '')}"
        case WaitReason.ORGANIZATION_LIMIT:
            return (
                f"Your organization has {data.get('in_flight')} jobs on agents, "
                f"as many as it may at once"
            )
        case "queue.paused":
            return "Your jobs are paused"
        case "queue.member_limit":
            return f"You have {data.get('in_flight')} jobs on agents, as many as you may at once"
    return ""


def _gib(value: object) -> str:
    return f"{value / GIB:.1f}" if isinstance(value, int | float) else "?"


def _who_is_first(why: Why) -> str:
    if why.jobs_ahead == 0:
        busy = why.code == WaitReason.AGENTS_BUSY
        return "Next, when an agent is free" if busy else "Next in line"
    urgent = sum(why.by_tier.values())
    others = max(0, why.jobs_ahead - why.own_jobs_ahead - urgent)
    parts = [f"{plural(count, f'{tier_name(tier)} job')}" for tier, count in why.by_tier.items()]
    if others:
        parts.append(plural(others, "other job"))
    if why.own_jobs_ahead:
        parts.append(f"{why.own_jobs_ahead} of yours")
    return f"Behind {listing(parts)}"
