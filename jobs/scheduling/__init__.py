"""Who is next: urgent tiers first with reserves for the others, fair queueing among organizations
and their users, and patience and a window for models that are already loaded.

Pure: no clock, no randomness, no Django; the same calls give the same plan. The dispatcher owns a
`Queue` (jobs that wait, and virtual times), keeps it current (`add`, `remove`), asks `plan`, and
tells what became of it (`settle`, `refund`). `docs/explanation/scheduling.md` is the long form.

Tiers. Of the GPU-seconds given on agents of one kind, tier t is sure of its share r_t while it
waits; together the shares are at most 1. A clock C counts the seconds charged to all tiers there;
m_t is the clock at which t would have what it has had. t starts to wait with m_t = C. A tier with
m_t < C - W is due: of those that are due the one of least m_t goes, and its whole charge s counts,
m_t += s/r_t. If none is due the most urgent goes, and its charge counts at most until m_t = C.

Bound. While t waits, with c the largest single charge and four tiers, always C - m_t <= W + 4c;
so between t1 and t2 it is given at least r_t (C2 - C1 - W - 4c), and others at most
max(W, c/r_t) + 4c between two of its services.

Proof. Write d_j = m_j + W, the clock at which j becomes due, and x for d_t now; let C > x. Let C0
be the clock before the last charge to a tier that was not due. Then none was, so every waiting
d_j >= C0, and whoever began to wait since has d_j >= C0, too. Since then only due tiers went, those
of least d first, so none with d_j > x; and what they got counted fully. So t has had at most
r_t (x - C0) and each other tier at most r_j (x - C0) + c. With the charge at C0 itself, and all
shares together at most 1: C - C0 <= 4c + (x - C0), hence C - x <= 4c. ∎ Right after a service
m_t <= max(C, C - W + c/r_t), which gives the gap.

Flows of a tier. Two levels: organizations, their users. Each flow f has a virtual time v_f: the
GPU-seconds charged to it over its weight w_f. At each level those are eligible whose
v_f <= min v + Q/w_f; of their next jobs for each model the one goes that loads fastest on the free
agent, then the one for whose model most waits, then the fairest. For flows i and j of one level
that both have jobs for the free agents all the time from t1 to t2, with S the GPU-seconds charged
to them meanwhile:

    |S_i/w_i - S_j/w_j| <= (Q + c) (1/w_i + 1/w_j)

Proof. i is served only while v_i <= v_j + Q/w_i, and one charge adds at most c/w_i, so
v_i - v_j <= (Q + c)/w_i ever after; likewise v_j - v_i <= (Q + c)/w_j. Between t1 and t2 the
difference v_i - v_j therefore moves by at most the sum, and it moves by S_i/w_i - S_j/w_j. ∎
At t1 the premise holds: a flow that wakes starts at the minimum. The flow of least v is always
eligible, so nothing starves and no age rule is needed. A settlement moves v by the error of an
estimate over w: with m jobs in flight whose estimates err by at most e, add m e (1/w_i + 1/w_j);
likewise for tiers.

Sources: SFQ (Goyal 1996) for start times and the idle rule; VTC (Sheng, OSDI'24) for lifting and
for settling estimates; DLPM (arXiv 2501.14312) for a window that trades fairness for locality;
delay scheduling (Zaharia, EuroSys'10) for patience; earliest deadline first for what is due.
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
