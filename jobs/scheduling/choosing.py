"""Which of the waiting jobs one agent should take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import TypeAlias

from jobs.scheduling.index import Entry, Index, Node
from jobs.scheduling.policy import TIERS, Policy
from jobs.scheduling.rows import Tier, WaitingJob

Member: TypeAlias = tuple[str, str]  # organization, user
Key: TypeAlias = tuple[float, float]  # seconds to load, less what waits for the model
NO_KEY: Key = (float("inf"), 0.0)


@dataclass(frozen=True, slots=True)
class Held:
    """Who may not be given more now, because a limit is reached."""

    organizations: Collection[str] = ()
    members: Collection[Member] = ()

    def __bool__(self) -> bool:
        return bool(self.organizations or self.members)


@dataclass(frozen=True, slots=True)
class Choice:
    job: WaitingJob
    swap_seconds: float
    is_due: bool = False
    """The tier had to go first: it is behind its reserve."""


class Haste(IntEnum):
    """How much a tier's best job for this agent wants to go now."""

    NOW = 0
    """It needs no loading here, or has waited long enough for a better agent."""
    OPEN = 1
    """No agent that holds its model is free in time, but one may be that loses less by loading."""
    HOPING = 2
    """An agent that holds its model will be free in time."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a model suits this agent."""

    key: Key
    late_since: float
    """Jobs that wait since then, or longer, have lost their patience."""
    hopeless_since: float
    """Those that wait since before then will be late when an agent is free that holds it."""


@dataclass(slots=True)
class Chooser:
    """`agents` are there of this one's kind. `swap_seconds` asks how long a model takes to load
    here, `worth` how much waits for it in a tier, `free_at` when a busy agent that holds it will
    be free, `is_cheaper_elsewhere` whether by then another loses less by loading it.
    """

    index: Index
    agents: int
    policy: Policy
    held: Held
    now: float
    resident: Collection[str]
    swap_seconds: Callable[[str], float]
    worth: Callable[[str, Tier], float]
    free_at: Callable[[str], float | None]
    is_cheaper_elsewhere: Callable[[float], bool]
    cheaper: dict[float, bool] = field(default_factory=dict)

    def choose(self) -> Choice | None:
        """Tiers behind their reserve first, then by urgency. A job that would have to load its
        model here lets a less urgent one go first that would not, while its patience lasts.
        """
        waiting = [
            tier
            for tier in TIERS
            if (node := self.index.root.children.get(tier)) and first_free(node, self.held)
        ]
        due = self.index.reserves.due(waiting, self.agents)
        for tier in due:
            if (found := self._of_tier(Tier(tier), is_due=True)) is not None:
                return found[0]
        later: dict[Haste, Choice] = {}
        for tier in waiting:
            found = self._of_tier(Tier(tier), is_due=False)
            if found is None:
                continue
            choice, haste = found
            if choice.swap_seconds == 0:
                return choice
            later.setdefault(haste, choice)
            if haste is Haste.NOW:
                return later.get(Haste.OPEN, choice)
        return later.get(Haste.OPEN) or later.get(Haste.HOPING)

    def _of_tier(self, tier: Tier, *, is_due: bool) -> tuple[Choice, Haste] | None:
        """The tier's best job for this agent: the hastier first, then the least to load, then the
        model for which most waits; at a tie the fairest.
        """
        users: list[Node] = []
        eligible = eligible_users(self.index.root.children[tier], self.policy, self.held)
        for user in islice(eligible, self.policy.scan_limit):
            job = self._resident_job(user)
            if job is not None:
                return Choice(job, 0.0, is_due), Haste.NOW
            users.append(user)
        best: tuple[Haste, Key] | None = None
        best_job = None
        known: dict[str, Fit] = {}
        jobs = (job for user in users for job in next_jobs(user, self.policy))
        for job in islice(jobs, self.policy.scan_limit):
            fit = known.get(job.model_digest)
            if fit is None:
                fit = known[job.model_digest] = self._fit(job)
            since = job.submitted_at
            if is_due or since <= fit.late_since:
                haste = Haste.NOW
            else:
                haste = Haste.OPEN if since < fit.hopeless_since else Haste.HOPING
            if best is None or (haste, fit.key) < best:
                best, best_job = (haste, fit.key), job
        if best is None or best_job is None:
            return None
        return Choice(best_job, best[1][0], is_due), best[0]

    def _resident_job(self, user: Node) -> WaitingJob | None:
        """The first of the user's jobs that needs no loading here."""
        if is_overtaken(user, self.policy):
            head = user.waiting[0][3]
            return head if head.model_digest in self.resident else None
        found = None
        for digest in self.resident:
            line = user.by_model.get(digest)
            if line is not None and (found is None or line[0] < found):
                found = line[0]
        return found[3] if found else None

    def _fit(self, job: WaitingJob) -> Fit:
        digest, policy = job.model_digest, self.policy
        swap = self.swap_seconds(digest)
        patience, hope = policy.patience(job.tier, swap), policy.hope(job.tier, swap)
        free_at = self.free_at(digest)
        hopeless = self.now if free_at is None else free_at - hope
        if hope not in self.cheaper:
            self.cheaper[hope] = self.is_cheaper_elsewhere(self.now + hope)
        if self.cheaper[hope]:
            patience = hope
        late = max(self.now - hope, min(self.now - patience, hopeless))
        return Fit((swap, -self.worth(digest, job.tier)), late, hopeless)


def first_free(tier: Node, held: Held) -> Entry | None:
    """The tier's organization of least virtual time that may be given more."""
    for entry in tier.order:
        if entry[2] not in held.organizations and first_free_user(
            tier.children[entry[2]], entry[2], held
        ):
            return entry
    return None


def first_free_user(organization: Node, organization_id: str, held: Held) -> Entry | None:
    """The organization's user of least virtual time that may be given more."""
    if not held.members:
        return organization.order[0]
    for entry in organization.order:
        if (organization_id, entry[2]) not in held.members:
            return entry
    return None


def eligible_users(tier: Node, policy: Policy, held: Held) -> Iterator[Node]:
    """The users whose jobs may go next, the fairest first: by virtual time of organization and
    user. All within the window of the least virtual time at their level.
    """
    window = policy.window_seconds
    least = None
    for virtual, _, key in tier.order:
        if least is not None and virtual > least + window / policy.weight(1, key):
            return
        if key in held.organizations:
            continue
        organization = tier.children[key]
        first = first_free_user(organization, key, held)
        if first is None:
            continue
        least = virtual if least is None else least
        for user_virtual, _, user_id in organization.order:
            if user_virtual > first[0] + window:
                break
            if (key, user_id) not in held.members:
                yield organization.children[user_id]


def next_jobs(user: Node, policy: Policy) -> list[WaitingJob]:
    """The user's first job for each model, in the owner's order."""
    if is_overtaken(user, policy) or len(user.by_model) == 1:
        return [user.waiting[0][3]]
    return [entry[3] for entry in sorted(line[0] for line in user.by_model.values())]


def is_overtaken(user: Node, policy: Policy) -> bool:
    """The window holds within a user's own line, too, or a job whose model is nowhere resident
    would wait forever behind later ones of the same user: now it is the first one's turn.
    """
    return user.overtaken_seconds >= policy.window_seconds
