"""Traffic for a simulated fleet: who asks for what, when, and what becomes of the agents.

Chance is the caller's, so that the same seed gives the same trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from jobs.scheduling.rows import Tier, WaitingJob
from jobs.scheduling.simulation import SimulatedAgent

GIB = 1024**3
AGENT_BYTES = 24 * GIB
FLOODING = "org_flood"
JOB_BYTES = (4 * GIB, 7 * GIB, 14 * GIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What happens, whoever schedules."""

    jobs: Sequence[WaitingJob]
    agents: Sequence[SimulatedAgent]
    until: float
    actual: Mapping[str, float] = field(default_factory=dict)
    """Seconds that jobs really take, by id; those not named take what was estimated."""

    def actual_seconds(self, job: WaitingJob) -> float:
        """Of what is left of the job."""
        whole = self.actual.get(job.id)
        return job.cost_seconds if whole is None else whole * job.pictures / self.pictures(job)

    def pictures(self, job: WaitingJob) -> int:
        """How many the whole job has."""
        return self._whole[job.id]

    @property
    def gpu_seconds(self) -> float:
        """Of all jobs, without loading models."""
        return sum(self.actual.get(job.id, job.cost_seconds) for job in self.jobs)

    _whole: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._whole.update((job.id, job.pictures) for job in self.jobs)


def one_picture(chance: Random) -> tuple[int, float]:
    """Pictures and their seconds."""
    return 1, chance.uniform(2.3, 7.0)


def a_few_pictures(chance: Random) -> tuple[int, float]:
    """Mostly one; sometimes a batch of up to sixteen."""
    pictures = chance.choices((1, 2, 4, 8, 16), (50, 15, 20, 10, 5))[0]
    return pictures, pictures * chance.uniform(2.3, 7.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """`jobs` by tier come within `seconds`, at random moments; all at once if that is 0."""

    jobs: Mapping[Tier, int]
    seconds: float
    starts_at: float = 0.0
    organizations: Sequence[str] = tuple(f"org_{number:02d}" for number in range(30))
    users: int = 10
    models: int = 40
    zipf: float = 1.1
    sizes: Mapping[Tier, Callable[[Random], tuple[int, float]]] = field(default_factory=dict)

    def make(self, chance: Random, prefix: str) -> list[WaitingJob]:
        """The k-th model is asked for in proportion to 1/k^zipf."""
        popularity = [1 / rank**self.zipf for rank in range(1, self.models + 1)]
        made = []
        for tier, number in self.jobs.items():
            digests = chance.choices(range(self.models), popularity, k=number)
            for index, digest in enumerate(digests):
                pictures, seconds = self.sizes.get(tier, one_picture)(chance)
                organization = chance.choice(self.organizations)
                made.append(
                    WaitingJob(
                        id=f"{prefix}_{tier}_{index:07d}",
                        organization_id=organization,
                        user_id=f"{organization}_usr_{chance.randrange(self.users)}",
                        tier=tier,
                        model_digest=f"model_{digest:04d}",
                        cost_seconds=seconds,
                        memory_bytes=chance.choice(JOB_BYTES),
                        submitted_at=self.starts_at + chance.uniform(0, self.seconds),
                        pictures=pictures,
                    )
                )
        return made


def fleet(number: int, *, cached_models: int = 0, slots: int = 1) -> list[SimulatedAgent]:
    """Agents of one kind, eight to a machine."""
    return [
        SimulatedAgent(
            id=f"agt_{index:04d}",
            machine=f"machine_{index // 8:03d}",
            memory_bytes=AGENT_BYTES,
            cached_models=cached_models,
            slots=slots,
        )
        for index in range(number)
    ]


def sized_for(load: float, jobs: Sequence[WaitingJob], seconds: float) -> int:
    """So many agents that the jobs' own GPU-seconds are `load` of theirs; loading not counted."""
    return max(1, round(sum(job.cost_seconds for job in jobs) / seconds / load))


MIX = {Tier.TURBO: 80, Tier.FAST: 260, Tier.RELAX: 1200}


def mix(times: float) -> dict[Tier, int]:
    return {tier: round(number * times) for tier, number in MIX.items()}


def steady(chance: Random, *, minutes: float, load: float = 0.85) -> Trace:
    """80 turbo, 260 fast and 1,200 relax jobs every ten minutes, on a fleet so large that their
    own GPU-seconds load it to 85 %: what loading models takes comes on top.
    """
    seconds = minutes * 60
    jobs = Traffic(jobs=mix(minutes / 10), seconds=seconds).make(chance, "job")
    return _trace(jobs, fleet(sized_for(load, jobs, seconds)), seconds)


def standing(chance: Random, *, minutes: float, load: float = 0.75) -> Trace:
    """80, 260 and 1,200 wait at the beginning, one organization owns half of each; more come."""
    seconds = minutes * 60
    half = {tier: number // 2 for tier, number in MIX.items()}
    jobs = Traffic(jobs=half, seconds=0.0).make(chance, "old")
    jobs += Traffic(jobs=half, seconds=0.0, organizations=["org_large"]).make(chance, "large")
    later = Traffic(jobs=mix(minutes / 10), seconds=seconds).make(chance, "job")
    return _trace([*jobs, *later], fleet(sized_for(load, later, seconds)), seconds)


def flood(chance: Random, *, minutes: float) -> Trace:
    """Steady traffic at 85 %, and from a tenth of the time on one organization that asks for as
    much again of every tier at once.
    """
    seconds = minutes * 60
    jobs = Traffic(jobs=mix(minutes / 10), seconds=seconds).make(chance, "job")
    flooding = Traffic(
        jobs=mix(minutes / 10),
        seconds=seconds / 10,
        starts_at=seconds / 10,
        organizations=[FLOODING],
        users=3,
    ).make(chance, "flood")
    return _trace([*jobs, *flooding], fleet(sized_for(0.85, jobs, seconds)), seconds)


def batches(chance: Random, *, minutes: float) -> Trace:
    """Steady traffic at 85 % where relax asks for up to sixteen pictures at a time."""
    seconds = minutes * 60
    numbers = {**mix(minutes / 10), Tier.RELAX: round(400 * minutes / 10)}
    traffic = Traffic(jobs=numbers, seconds=seconds, sizes={Tier.RELAX: a_few_pictures})
    jobs = traffic.make(chance, "job")
    return _trace(jobs, fleet(sized_for(0.85, jobs, seconds)), seconds)


def losses(chance: Random, *, minutes: float) -> Trace:
    """Steady traffic at 70 % on agents that die, and on spot machines that go after a notice."""
    seconds = minutes * 60
    jobs = Traffic(jobs=mix(minutes / 10), seconds=seconds).make(chance, "job")
    agents = []
    for number, agent in enumerate(fleet(sized_for(0.70, jobs, seconds))):
        if number % 2 == 0:
            dies_at = chance.uniform(0.1, 0.8) * seconds
            notice = 30.0 if number % 4 == 0 else None
            agents.append(_mortal(agent, dies_at, notice, back_at=dies_at + seconds / 20))
        else:
            agents.append(agent)
    actual = {job.id: job.cost_seconds * chance.lognormvariate(0.0, 0.3) for job in jobs}
    return _trace(jobs, agents, seconds, actual)


def large(chance: Random, *, jobs: int, agents: int, load: float = 0.95) -> Trace:
    """A large fleet with 300 organizations and 200 models, some in host memory."""
    total = sum(MIX.values())
    mean = (2.3 + 7.0) / 2
    seconds = jobs * mean / agents / load
    traffic = Traffic(
        jobs={tier: round(number * jobs / total) for tier, number in MIX.items()},
        seconds=seconds,
        organizations=tuple(f"org_{number:03d}" for number in range(300)),
        models=200,
    )
    return _trace(traffic.make(chance, "job"), fleet(agents, cached_models=4), seconds)


def _mortal(
    agent: SimulatedAgent, dies_at: float, notice: float | None, *, back_at: float
) -> SimulatedAgent:
    return SimulatedAgent(
        id=agent.id,
        machine=agent.machine,
        memory_bytes=agent.memory_bytes,
        cached_models=agent.cached_models,
        slots=agent.slots,
        dies_at=dies_at,
        notice_seconds=notice,
        returns_at=back_at,
    )


def _trace(
    jobs: Sequence[WaitingJob],
    agents: Sequence[SimulatedAgent],
    until: float,
    actual: Mapping[str, float] | None = None,
) -> Trace:
    ordered = sorted(jobs, key=lambda job: (job.submitted_at, job.id))
    return Trace(jobs=ordered, agents=agents, until=until, actual=actual or {})
