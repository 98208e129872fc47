"""Virtual times: how much service each tier, organization and user has had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

VERSION = 1


@dataclass(slots=True)
class Flow:
    """A tier, an organization within it, or a user within that."""

    virtual: float = 0.0
    """GPU-seconds charged, divided by the weight, since the level's common beginning."""
    since: float = 0.0
    """When the job that woke the flow was submitted; the longer waiting goes first at a tie."""
    clock: float = 0.0
    """Where a child starts that comes while no sibling waits."""
    is_backlogged: bool = False
    children: dict[str, Flow] = field(default_factory=dict)

    def child(self, key: str) -> Flow:
        found = self.children.get(key)
        if found is None:
            found = self.children[key] = Flow(virtual=self.clock)
        return found

    def forget_all(self) -> None:
        """Nobody waits here: nobody is owed anything, all start equal (SFQ's idle rule)."""
        self.clock = max([self.clock, *(child.virtual for child in self.children.values())])
        self.children.clear()

    def forget_idle(self) -> None:
        """Drop idle children that would be lifted when they wake anyhow."""
        waiting = [child.virtual for child in self.children.values() if child.is_backlogged]
        floor = min(waiting, default=self.clock)
        for key, child in list(self.children.items()):
            if not child.is_backlogged and child.virtual <= floor:
                del self.children[key]
            else:
                child.forget_idle()


@dataclass(slots=True)
class FairState:
    """What fairness must remember across a restart. Owned and changed by one `Queue`."""

    root: Flow = field(default_factory=Flow)

    def flows(self, path: tuple[str, ...]) -> list[Flow]:
        """The root and the flow of each key, as far down as the path goes; made where missing."""
        flows = [self.root]
        for key in path:
            flows.append(flows[-1].child(key))
        return flows

    def to_json(self) -> dict[str, Any]:
        """JSON values, sorted; forgets first what can make no difference any more."""
        self.root.forget_idle()
        return {"version": VERSION, "root": _to_json(self.root)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        if data.get("version") != VERSION:
            raise ValueError(f"Fair state has version {data.get('version')!r}, not {VERSION}.")
        return cls(root=_from_json(data["root"]))

    def walk(self) -> Iterator[tuple[tuple[str, ...], Flow]]:
        """Every flow with its path, parents first."""
        pending: list[tuple[tuple[str, ...], Flow]] = [((), self.root)]
        while pending:
            path, flow = pending.pop()
            if path:
                yield path, flow
            pending.extend(((*path, key), child) for key, child in flow.children.items())


def _to_json(flow: Flow) -> dict[str, Any]:
    data: dict[str, Any] = {"virtual": flow.virtual, "since": flow.since, "clock": flow.clock}
    if flow.is_backlogged:
        data["is_backlogged"] = True
    if flow.children:
        data["flows"] = {str(key): _to_json(child) for key, child in sorted(flow.children.items())}
    return data


def _from_json(data: Mapping[str, Any]) -> Flow:
    return Flow(
        virtual=float(data["virtual"]),
        since=float(data["since"]),
        clock=float(data["clock"]),
        is_backlogged=bool(data.get("is_backlogged", False)),
        children={key: _from_json(child) for key, child in data.get("flows", {}).items()},
    )
