"""Which agents can take which jobs, whatever else waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.scheduling.index import AgentClass
from jobs.scheduling.policy import UNLIMITED, Policy
from jobs.scheduling.queue import Queue
from jobs.scheduling.rows import AgentView, Need, Unplaceable, WaitReason


def agent_classes(agents: Sequence[AgentView], policy: Policy) -> dict[str, AgentClass]:
    """By agent id, for agents that take work."""
    floor = _floor(agents, policy.floor_agents)
    made: dict[tuple[int, frozenset[str], bool], AgentClass] = {}
    classes = {}
    for agent in agents:
        if agent.is_accepting:
            kind = (agent.memory_bytes, agent.labels, agent.id in floor)
            known = made.get(kind)
            if known is None:
                longest = policy.floor_seconds if kind[2] else UNLIMITED
                known = made[kind] = AgentClass(agent.memory_bytes, agent.labels, longest)
            classes[agent.id] = known
    return classes


def find_unplaceable(queue: Queue, agents: Sequence[AgentView]) -> tuple[Unplaceable, ...]:
    """Jobs that no connected agent could ever take, by need; smallest first."""
    kinds = _kinds(agents)
    found = []
    for need, jobs in queue.needs().items():
        obstacle = obstacle_for(need, kinds)
        if obstacle is not None:
            reason, data = obstacle
            found.append(Unplaceable(need=need, jobs=jobs, reason=reason, data=data))
    found.sort(key=lambda one: (one.need.memory_bytes, sorted(one.need.labels)))
    return tuple(found)


def obstacle_for(
    need: Need, agents: Iterable[AgentView]
) -> tuple[WaitReason, dict[str, int | str]] | None:
    """Why none of these agents can take it; None if one can."""
    agents = list(agents)
    fitting = [agent for agent in agents if need.is_met_by(agent)]
    if any(agent.is_accepting for agent in fitting):
        return None
    if fitting:
        return WaitReason.AGENT_DRAINING, {"draining": len(fitting)}
    accepting = [agent for agent in agents if agent.is_accepting]
    if not accepting:
        return WaitReason.NO_AGENT, {}
    largest = max(agent.memory_bytes for agent in accepting)
    if need.memory_bytes > largest:
        data = {"needed_bytes": need.memory_bytes, "largest_bytes": largest}
        return WaitReason.DOES_NOT_FIT, dict(data)
    return WaitReason.MISSING_LABEL, {"labels": ", ".join(sorted(need.labels))}


def _kinds(agents: Sequence[AgentView]) -> list[AgentView]:
    """One agent of each kind: what differs otherwise does not matter here."""
    kinds = {(agent.memory_bytes, agent.labels, agent.is_accepting): agent for agent in agents}
    return list(kinds.values())


def _floor(agents: Sequence[AgentView], count: int) -> frozenset[str]:
    """The smallest agents, kept for short jobs; only those whose long jobs can go elsewhere."""
    if count <= 0:
        return frozenset()
    general = sorted(
        (agent for agent in agents if agent.is_accepting),
        key=lambda agent: (agent.memory_bytes, agent.id),
    )
    floor: set[str] = set()
    for agent in list(general):
        others = [other for other in general if other.id != agent.id]
        need = Need(agent.memory_bytes, agent.labels)
        if len(floor) < count and any(need.is_met_by(other) for other in others):
            floor.add(agent.id)
            general = others
    return frozenset(floor)
