"""Many open pages on one web process while many agents report: how late, how large, how busy."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import uvloop

from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from benchmarks._studio import Studio, process_cpu_seconds, running_studio, throwaway_layout

if TYPE_CHECKING:
    from benchmarks._crowd import Agents, Heard, Pages, Room

WARM_UP_SOCKETS = 20
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many, and for how long it is looked at."""

    sockets: int
    rooms: int
    agents: int
    seconds: float


def run(plan: Plan) -> dict[str, Figure]:
    """One studio without an agent of its own."""
    before = load()
    _allow_many_files()
    with throwaway_layout() as layout, running_studio(layout, with_agent=False) as studio:
        os.environ.update(studio.env)
        import django

        django.setup()
        from benchmarks import _crowd

        rooms = _crowd.make_rooms(plan.rooms)
        agents = _crowd.make_agents(plan.agents)
        heard = _crowd.Heard()
        pages = _crowd.Pages(studio.layout.url, heard)
        fleet = _crowd.Agents(studio.layout.url, studio.env["REDIS_URL"], heard, agents)
        say(f"{plan.rooms} rooms are made, load {before}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(_measure(plan, studio, rooms, pages, fleet, heard))
    return {**figures, "load_before": before, "load_after": load()}


async def _measure(
    plan: Plan, studio: Studio, rooms: Sequence[Room], pages: Pages, fleet: Agents, heard: Heard
) -> dict[str, Figure]:
    from benchmarks._crowd import submit

    pid = _web_pid(studio)
    everybody = [rooms[n % len(rooms)] for n in range(plan.sockets)]
    await pages.open(everybody[:WARM_UP_SOCKETS])
    empty = _resident_bytes(pid)
    connecting = await pages.open(everybody[WARM_UP_SOCKETS:])
    full = _resident_bytes(pid)
    opened = plan.sockets - WARM_UP_SOCKETS
    say(f"{plan.sockets} sockets are open: {opened / connecting:.0f} a second")
    pages.begin_to_ping()
    await fleet.start()
    for room in rooms[: plan.agents]:
        await asyncio.to_thread(submit, room)
    async with asyncio.timeout(60):
        while fleet.at_work < plan.agents:
            await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLE_S)
    say(f"{fleet.at_work} agents are at work, load {load()}")
    heard.is_measuring = True
    used, own, began = process_cpu_seconds(pid), time.process_time(), time.monotonic()
    await asyncio.sleep(plan.seconds)
    heard.is_measuring = False
    seconds = time.monotonic() - began
    used, own = process_cpu_seconds(pid) - used, time.process_time() - own
    await fleet.stop()
    await pages.close()
    if not studio.is_complete:
        raise RuntimeError("A process of the studio died meanwhile; the figures mean nothing.")
    return {
        "sockets": plan.sockets,
        "rooms": plan.rooms,
        "agents": plan.agents,
        "lag_ms_p50": _ms(median(heard.lags)),
        "lag_ms_p95": _ms(quantiles(heard.lags, n=20)[18]),
        "preview_lag_ms_p50": _ms(median(heard.preview_lags)),
        "preview_lag_ms_p95": _ms(quantiles(heard.preview_lags, n=20)[18]),
        "kib_per_socket": (full - empty) / opened / 1024,
        "cpu_share": used / seconds,
        "client_cpu_share": own / seconds,
        "connects_per_s": opened / connecting,
        "agent_messages_per_s": heard.said / seconds,
        "page_messages_per_s": heard.messages / seconds,
        "sockets_lost": heard.closed,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _web_pid(studio: Studio) -> int:
    (web,) = (child for child in studio.supervisor.children if child.spec.name == "web")
    assert web.process is not None
    return web.process.pid


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _allow_many_files() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="2,000 sockets instead of 300, 30 s")
    parser.add_argument("--sockets", type=int, help="so many instead")
    arguments = parser.parse_args()
    clean_up_on_signals()
    small = Plan(sockets=300, rooms=60, agents=16, seconds=12.0)
    full = Plan(sockets=2_000, rooms=200, agents=64, seconds=30.0)
    plan = full if arguments.full else small
    finish(run(replace(plan, sockets=arguments.sockets or plan.sockets)))


if __name__ == "__main__":
    main()
