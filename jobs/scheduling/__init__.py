"""Who is next: hierarchical fair queueing with a window for models that are already loaded.

Pure: no clock, no randomness, no Django; the same calls give the same plan. The dispatcher owns a
`Queue` (jobs that wait, and virtual times), keeps it current (`add`, `remove`), asks `plan`, and
tells what became of it (`settle`, `refund`). `docs/explanation/scheduling.md` is the long form.

Rule. Three levels: tiers, their organizations, their users. Each flow f has a virtual time v_f: the
GPU-seconds charged to it over its weight w_f. At each level those are eligible whose
v_f <= min v + Q/w_f; of the next K jobs of each eligible user, the one goes that loads fastest on
the free agent, and among those the fairest. The charge is the estimate and the swap it causes.

Bound. For flows i and j of one level that both have jobs for the free agents all the time from
t1 to t2, with S the GPU-seconds charged to them meanwhile and c the largest single charge:

    |S_i/w_i - S_j/w_j| <= (Q + c) (1/w_i + 1/w_j)

Proof. i is served only while v_i <= v_j + Q/w_i, and one charge adds at most c/w_i, so
v_i - v_j <= (Q + c)/w_i ever after; likewise v_j - v_i <= (Q + c)/w_j. Between t1 and t2 the
difference v_i - v_j therefore moves by at most the sum, and it moves by S_i/w_i - S_j/w_j. ∎
At t1 the premise holds: a flow that wakes starts at the minimum. The flow of least v is always
eligible, so nothing starves and no age rule is needed. A settlement moves v by the error of an
estimate over w: with m jobs in flight whose estimates err by at most e, add m e (1/w_i + 1/w_j).

Sources: SFQ (Goyal 1996) for start times and the idle rule; VTC (Sheng, OSDI'24) for lifting and
for settling estimates; DLPM (arXiv 2501.14312) for a window that trades fairness for locality.
"""

from jobs.scheduling.explanation import explain
from jobs.scheduling.fairness import FairState
from jobs.scheduling.planning import plan
from jobs.scheduling.policy import Policy
from jobs.scheduling.preloading import Popularity, preload
from jobs.scheduling.queue import Queue, refund, settle
from jobs.scheduling.rows import (
    AgentView,
    Charge,
    Explanation,
    Need,
    Placement,
    Plan,
    Preload,
    Tier,
    Unplaceable,
    WaitingJob,
    WaitReason,
)

__all__ = [
    "AgentView",
    "Charge",
    "Explanation",
    "FairState",
    "Need",
    "Placement",
    "Plan",
    "Policy",
    "Popularity",
    "Preload",
    "Queue",
    "Tier",
    "Unplaceable",
    "WaitReason",
    "WaitingJob",
    "explain",
    "plan",
    "preload",
    "refund",
    "settle",
]
