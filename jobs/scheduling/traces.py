"""Recorded traffic as lines of JSON, to be replayed: ids and numbers only, nothing of content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any

from jobs.scheduling.rows import Tier, WaitingJob
from jobs.scheduling.scenarios import Trace
from jobs.scheduling.simulation import SimulatedAgent

VERSION = 1


class TraceBrokenError(ValueError):
    """The lines are no trace, or one of another version."""


def write_trace(trace: Trace) -> Iterator[str]:
    """A first line about the trace, then a line for each agent and job."""
    yield _line({"trace": VERSION, "until": trace.until})
    for agent in trace.agents:
        yield _line({"agent": asdict(agent)})
    for job in trace.jobs:
        data: dict[str, Any] = {"job": asdict(job)}
        if job.id in trace.actual:
            data["actual"] = trace.actual[job.id]
        yield _line(data)


def read_trace(lines: Iterable[str]) -> Trace:
    """What `write_trace` wrote.

    Raises:
        TraceBrokenError: it did not write that; the line is named.
    """
    until, agents, jobs, actual = None, [], [], {}
    for number, line in enumerate(lines, 1):
        try:
            data = json.loads(line)
            if number == 1:
                if data["trace"] != VERSION:
                    raise ValueError(f"version {data['trace']}, not {VERSION}")
                until = float(data["until"])
            elif "agent" in data:
                agents.append(_made(SimulatedAgent, data["agent"]))
            else:
                jobs.append(_made(WaitingJob, data["job"]))
                if "actual" in data:
                    actual[jobs[-1].id] = float(data["actual"])
        except (KeyError, TypeError, ValueError) as error:
            raise TraceBrokenError(f"Line {number} of the trace: {error}") from error
    if until is None:
        raise TraceBrokenError("The trace is empty.")
    return Trace(jobs=jobs, agents=agents, until=until, actual=actual)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, default=sorted, separators=(",", ":"))  # sets of labels


def _made(kind: type[Any], data: dict[str, Any]) -> Any:  # noqa: ANN401  # a dataclass of that kind
    unknown = data.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"unknown {sorted(unknown)}")
    values = {**data, "labels": frozenset(data.get("labels", ()))}
    if kind is WaitingJob:
        values["tier"] = Tier(data["tier"])
    return kind(**values)
