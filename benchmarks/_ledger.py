"""What the tables say after the faults: everything once, nothing left over."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from benchmarks._faults import Death

Row = dict[str, object]

_JOBS = "SELECT id, status, count, attempts_counted, error_code FROM jobs_job"
_OUTPUTS = """
    SELECT o.job_id, o.index, o.created_at > a.ended_at AS is_late, o.attempt_id, a.job_id AS of
    FROM jobs_output o JOIN jobs_jobattempt a ON a.id = o.attempt_id
"""
_ATTEMPTS = """
    SELECT id, job_id, agent_id, fence, status, error_code, claimed_at IS NOT NULL AS is_claimed,
           settled_at IS NULL AS is_unsettled, error_data->>'counted' AS counted,
           extract(epoch FROM leased_at)::float AS leased,
           extract(epoch FROM claimed_at)::float AS claimed,
           extract(epoch FROM ended_at)::float AS ended
    FROM jobs_jobattempt ORDER BY job_id, fence
"""
_ORPHANS = """
    SELECT count(*) FROM workspaces_artifact a WHERE status = 'stored' AND NOT EXISTS (
        SELECT FROM jobs_output o WHERE a.id IN (o.picture_id, o.thumbnail_id))
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """All jobs, attempts and pictures of the studio."""

    jobs: dict[str, Row]
    outputs: Sequence[Row]
    attempts: dict[str, list[Row]]
    orphans: int
    outbox: int

    @classmethod
    def read(cls, url: str) -> Ledger:
        with psycopg.connect(url, row_factory=dict_row) as database:
            # Row-level security shows nothing to who does not say what they may see.
            database.execute("SELECT set_config('studio.organization', '*', false)")
            jobs = {str(row["id"]): row for row in database.execute(_JOBS)}
            attempts: dict[str, list[Row]] = {}
            for row in database.execute(_ATTEMPTS):
                attempts.setdefault(str(row["job_id"]), []).append(row)
            outputs = list(database.execute(_OUTPUTS))
            orphans = database.execute(_ORPHANS).fetchone() or {"count": 0}
            outbox = database.execute("SELECT count(*) FROM core_outboxmessage").fetchone()
        return cls(jobs, outputs, attempts, orphans["count"], (outbox or {"count": 0})["count"])

    def stored(self, job_ids: Mapping[str, object]) -> int:
        """Different pictures of these jobs."""
        return len({(o["job_id"], o["index"]) for o in self.outputs if o["job_id"] in job_ids})

    def duplicated(self, job_ids: Mapping[str, object]) -> int:
        """Pictures too many, of these jobs or of ones that nobody asked for; files of none."""
        return len(self.outputs) - self.stored(job_ids) + self.orphans

    def stuck(self) -> list[str]:
        """Jobs that go on, attempts that are open or were never settled."""
        jobs = [
            job_id for job_id, job in self.jobs.items() if job["status"] in ("queued", "running")
        ]
        rows = [row for rows in self.attempts.values() for row in rows]
        return [
            *jobs,
            *(str(r["id"]) for r in rows if r["status"] in ("leased", "running")),
            *(str(r["id"]) for r in rows if r["ended"] and r["is_unsettled"]),
        ]

    def stale_writes(self) -> int:
        """Pictures of an attempt that was over, or of another job's."""
        return sum(bool(o["is_late"]) or o["of"] != o["job_id"] for o in self.outputs)

    def charged_twice(self) -> int:
        """Jobs that more tries are counted against than there are attempts that failed or fell
        silent, or that were counted as succeeded more than once.
        """
        wrong = 0
        for job_id, job in self.jobs.items():
            rows = self.attempts.get(job_id, [])
            bad = sum(row["status"] in ("failed", "expired") for row in rows)
            good = sum(row["status"] == "succeeded" for row in rows)
            wrong += int(int(str(job["attempts_counted"])) > bad or good > 1)
        return wrong

    def failures(self) -> dict[str, int]:
        """Codes of jobs that ended badly."""
        codes: dict[str, int] = {}
        for job in self.jobs.values():
            if job["status"] != "succeeded":
                code = f"{job['status']} {job['error_code']}".strip()
                codes[code] = codes.get(code, 0) + 1
        return codes

    def failed_stories(self) -> list[str]:
        """What became of each try of the jobs that did not succeed."""
        stories = []
        for job_id, job in self.jobs.items():
            if job["status"] != "succeeded":
                tries = [
                    f"{row['status']} {row['error_code']} {row['counted']} at {row['ended']}"
                    for row in self.attempts.get(job_id, [])
                ]
                stories.append(f"{job_id} {job['status']} {job['error_code']}: {'; '.join(tries)}")
        return stories

    def recoveries(self, deaths: Sequence[Death]) -> list[tuple[Death, float]]:
        """For each death that hit work: seconds until all of it was in an agent's hands again."""
        found = []
        for death in deaths:
            hit = [
                seconds
                for rows in self.attempts.values()
                for row, following in zip(rows, [*rows[1:], None], strict=True)
                if (seconds := _recovery(death, row, following)) is not None
            ]
            if hit:
                found.append((death, max(hit)))
        return found


def _recovery(death: Death, row: Row, following: Row | None) -> float | None:
    """Seconds from the death to the next claim of a job that was in the dead agent's hands."""
    leased, ended = row["leased"], row["ended"]
    if row["agent_id"] != death.agent_id or not isinstance(leased, float):
        return None
    is_hit = leased < death.at and (not isinstance(ended, float) or ended > death.at)
    if not is_hit or row["status"] == "succeeded":
        return None
    if following is None:  # it was the last try: told in that moment, or still waiting
        return (ended if isinstance(ended, float) else time.time()) - death.at
    claimed = following["claimed"] or following["ended"] or time.time()
    return float(str(claimed)) - death.at
