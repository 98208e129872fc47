"""Faults on a whole studio while pictures are asked for: is anything lost, doubled or stuck?"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import psycopg

from benchmarks._asking import Page, Programs
from benchmarks._client import signed_in_token
from benchmarks._faults import Faults
from benchmarks._ledger import Ledger
from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from benchmarks._store import running_store
from benchmarks._studio import Studio, running_studio, throwaway_layout
from launcher.process import wait_until

AGENTS = 3
SETTLED_WITHIN_S = 120.0
ANNOUNCED_WITHIN_S = 30.0
SLOW_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much, how fast, how long."""

    faults: int
    gap_s: float = 2.0
    pause_s: float = 30.0
    programs: int = 6
    pages: int = 2
    steps: int = 16
    seed: int = 1
    lease_s: int = 15
    heartbeat_s: int = 5
    log: Path | None = None


def run(plan: Plan) -> dict[str, Figure]:
    """Ask, break, wait until all has ended, and count."""
    before = load()
    with ExitStack() as stack:
        layout = stack.enter_context(throwaway_layout())
        store, credentials = stack.enter_context(running_store())
        settings = {
            **credentials,
            "STORAGE_URL": store.url,
            "STUDIO_AGENT_DEVICES": ",".join(["cpu"] * AGENTS),
            "STUDIO_AGENT_THREADS": "1",
            "STUDIO_API_RATE": "100000/min",
            "STUDIO_LEASE_SECONDS": str(plan.lease_s),
            "STUDIO_HEARTBEAT_SECONDS": str(plan.heartbeat_s),
        }
        studio = stack.enter_context(running_studio(layout, settings=settings))
        token, cookie = signed_in_token(studio)
        workspace = studio.login.workspace_path.split("/")[2]
        agents = _agents(studio)
        say(f"studio with {len(agents)} agents is ready, load {before}, seed {plan.seed}")
        pages = [Page(layout.url, workspace, cookie, token) for _ in range(plan.pages)]
        programs = Programs(
            layout.url, token, count=plan.programs, seed=plan.seed, steps=plan.steps
        )
        programs.listeners += [page.expect for page in pages]
        for page in pages:
            page.start()
            stack.callback(page.stop)
        programs.start()
        stack.callback(programs.stop_asking)
        faults = Faults(studio, store, agents, plan.seed, plan.pause_s)
        began = time.time()
        faults.do(plan.faults, plan.gap_s)
        faults.heal()
        seconds = time.time() - began
        programs.stop_asking()
        say(f"{plan.faults} faults in {seconds:.0f} s; {programs.pictures} pictures asked")
        programs.wait(SETTLED_WITHIN_S)
        wait_until(lambda: not _ledger(studio).stuck(), SETTLED_WITHIN_S, every_s=1.0)
        wait_until(
            lambda: not any(page.missing(programs.asked) for page in pages), ANNOUNCED_WITHIN_S
        )
        say("all has come to rest")
        for death, recovered_s in _ledger(studio).recoveries(faults.deaths):
            if recovered_s > SLOW_S:
                say(f"{death.kind} at {death.at:.1f}: work went on after {recovered_s:.1f} s")
        if plan.log is not None:
            shutil.copy(layout.logs / "processes.log", plan.log)
        return {
            **_figures(studio, faults, programs, pages, token),
            "seconds": seconds,
            "seed": plan.seed,
            "lease_s": plan.lease_s,
            "load_before": before,
            "load_after": load(),
        }


def _agents(studio: Studio) -> dict[str, str]:
    """Ids by the names of the processes, once all of them are warm."""
    query = "SELECT name, id FROM jobs_agent WHERE is_ready"

    def read() -> dict[str, str]:
        with psycopg.connect(studio.database_url) as database:
            return dict(database.execute(query).fetchall())

    if not wait_until(lambda: len(read()) == AGENTS, 60.0, every_s=0.2):
        raise TimeoutError("Not all agents got ready.")
    return {name.replace("local", "agent", 1): agent_id for name, agent_id in read().items()}


def _ledger(studio: Studio) -> Ledger:
    return Ledger.read(studio.database_url)


def _figures(
    studio: Studio, faults: Faults, programs: Programs, pages: Sequence[Page], token: str
) -> dict[str, Figure]:
    ledger = _ledger(studio)
    asked = programs.asked
    stored = ledger.stored(asked)
    recoveries = ledger.recoveries(faults.deaths)
    killed = [s for death, s in recoveries if death.kind == "agent killed"]
    alone = [s for death, s in recoveries if not faults.is_disturbed(death, s)]
    paused = [s for death, s in recoveries if death.kind == "agent paused"]
    for story in ledger.failed_stories():
        say(story)
    for problem in programs.refusals[:5]:
        say(f"refused: {problem}")
    return {
        "faults": sum(faults.done.values()),
        "asked": programs.pictures,
        "stored": stored,
        "lost": programs.pictures - stored,
        "duplicated": ledger.duplicated(asked) + len(ledger.jobs.keys() - asked.keys()),
        "stuck": len(ledger.stuck()) + ledger.outbox,
        "recovery_s_max": max(killed, default=0.0),
        "recovery_s_p50": median(killed) if killed else 0.0,
        "recovery_undisturbed_s_max": max(alone, default=0.0),
        "undisturbed": len(alone),
        "recovery_paused_s_max": max(paused, default=0.0),
        "deaths_that_hit_work": len(killed),
        "jobs": len(asked),
        "jobs_failed": sum(ledger.failures().values()),
        "attempts": sum(map(len, ledger.attempts.values())),
        "attempts_most": max(map(len, ledger.attempts.values()), default=0),
        "charged_twice": ledger.charged_twice(),
        "stale_writes": ledger.stale_writes(),
        "unannounced": sum(len(page.missing(asked)) for page in pages),
        "announced_twice": sum(page.ended_twice for page in pages),
        "pages_sent_away": sum(page.closed_for_good for page in pages),
        "page_connects": sum(page.connects for page in pages),
        "other_answers": programs.other_answers + len(programs.refusals),
        "unreadable": _unreadable(studio, token, list(asked)),
        "store_refusals": faults.store.refused,
        **{f"faults_{name.replace(' ', '_')}": count for name, count in faults.done.items()},
    }


def _unreadable(studio: Studio, token: str, jobs: Sequence[str]) -> int:
    """Pictures whose delivered bytes are not what the studio says they are."""
    wrong = 0
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(
        base_url=studio.layout.url, headers=headers, timeout=30, trust_env=False
    ) as api:
        for job_id in jobs:
            for output in api.get(f"/api/v1/jobs/{job_id}").raise_for_status().json()["outputs"]:
                content = api.get(output["picture_url"]).content
                wrong += int(hashlib.sha256(content).hexdigest() != output["sha256"])
    return wrong


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="300 faults instead of 14")
    parser.add_argument("--faults", type=int, help="how many, instead")
    parser.add_argument("--gap", type=float, default=2.0, help="seconds between them, about")
    parser.add_argument("--pause", type=float, help="seconds that an agent stands still")
    parser.add_argument("--lease", type=int, default=15, help="STUDIO_LEASE_SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="keep what the processes said")
    given = parser.parse_args()
    clean_up_on_signals()
    plan = Plan(
        faults=given.faults or (300 if given.full else 14),
        gap_s=given.gap,
        pause_s=given.pause or (30.0 if given.full else given.lease + 2.0),
        seed=given.seed,
        lease_s=given.lease,
        heartbeat_s=max(1, given.lease // 3),
        log=given.log,
    )
    finish(run(plan))


if __name__ == "__main__":
    main()
