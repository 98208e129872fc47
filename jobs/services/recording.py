"""When an attempt has ended: note what it took, and learn from it. Numbers, codes and ids only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.sealing import SealBrokenError
from jobs.costs import LOAD, LOAD_CACHED, STEP, class_of
from jobs.estimates import Learned, learn, passes_of, step_keys
from jobs.lifecycle import AttemptStatus
from jobs.models import CostEstimate, Job, JobAttempt, Output, RunRecord
from jobs.recipes import open_recipe
from library.memory import note_memory

JOB_TYPE = "picture"
# The parts of an attempt in which the GPU works for it; loading is counted apart.
WORKING = ("encode_prompt", "denoise", "decode")
DAY_SECONDS = 86_400.0
# Less is no loading: the model was there.
LOAD_NOTICED_SECONDS = 0.05
# As agents name where they found a model; `gpu` is no loading at all.
RESIDENT, HOST = "gpu", "host"
BATCH_MOST = 16


def record_run(
    attempt: JobAttempt,
    job: Job,
    *,
    status: AttemptStatus,
    error_code: str,
    timings: Mapping[str, object],
    ended_at: datetime,
) -> RunRecord:
    """Write the attempt's record and learn from it if it succeeded. In the caller's transaction."""
    agent, recipe = attempt.agent, _recipe(job)
    record = RunRecord.objects.create(
        organization_id=attempt.organization_id,
        attempt_id=attempt.pk,
        agent=agent,
        gpu_class=class_of(agent),
        job_type=JOB_TYPE,
        tier=job.tier,
        model_digest=job.model_version.digest,
        width=job.width,
        height=job.height,
        steps=recipe.denoising_steps if recipe else 0,
        pictures=Output.objects.filter(attempt=attempt).count(),
        status=status.value,
        error_code=error_code,
        wait_seconds=_wait(attempt, job),
        load_seconds=_seconds(timings, "load"),
        load_source=_source(timings),
        run_seconds=_seconds(timings, *WORKING) or _elapsed(attempt, ended_at),
        estimated_seconds=job.cost_seconds,
        peak_memory_bytes=_bytes(timings, "peak_memory_bytes"),
        ended_at=ended_at,
    )
    # What a picture takes in a batch is no measure for one that is made alone.
    if status is AttemptStatus.SUCCEEDED and recipe is not None and batch_of(timings) == 1:
        _learn_from(record, recipe, timings)
        note_memory(
            job.model_version,
            record.gpu_class,
            resident_bytes=_bytes(timings, "model_bytes") or 0,
            peak_bytes=record.peak_memory_bytes or 0,
        )
    return record


def batch_of(timings: Mapping[str, object]) -> int:
    """How many pictures were made at once; 1 if the agent does not say anything sensible."""
    size = timings.get("batch", 1)
    return size if isinstance(size, int) and 1 <= size <= BATCH_MOST else 1


def sane_timings(timings: Mapping[str, object]) -> dict[str, object]:
    """What an agent measured, without numbers that are none: PostgreSQL's JSON has no such words,
    and how an attempt ended must be noted all the same.
    """
    return {
        name: value
        for name, value in timings.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


def _learn_from(record: RunRecord, recipe: Recipe, timings: Mapping[str, object]) -> None:
    """Loading is not counted into a pass: who causes a swap is charged for it apart."""
    worked = _seconds(timings, *WORKING)
    passes = passes_of(recipe, pictures=record.pictures)
    if worked > 0 and passes > 0:
        for key in step_keys(record.model_digest, recipe):
            _learn(record.gpu_class, STEP, key, worked / passes)
    if record.load_seconds >= LOAD_NOTICED_SECONDS and record.load_source != RESIDENT:
        kind = LOAD_CACHED if record.load_source == HOST else LOAD
        _learn(record.gpu_class, kind, record.model_digest, record.load_seconds)


def _learn(gpu_class: str, kind: str, key: str, seconds: float) -> None:
    """Rows are always locked longest key first, so that two runs that end together do not wait
    for each other in a circle.
    """
    row, is_new = CostEstimate.objects.select_for_update().get_or_create(
        gpu_class=gpu_class,
        kind=kind,
        key=key,
        defaults={"mean_seconds": seconds, "weight": 1.0},
    )
    if is_new:
        return
    known = Learned(
        mean_seconds=row.mean_seconds, deviation_seconds=row.deviation_seconds, weight=row.weight
    )
    better = learn(known, seconds)
    row.mean_seconds = better.mean_seconds
    row.deviation_seconds = better.deviation_seconds
    row.weight = better.weight
    row.save(update_fields=["mean_seconds", "deviation_seconds", "weight", "updated_at"])


def _recipe(job: Job) -> Recipe | None:
    """None when it does not open any more: how an attempt ended must be noted all the same."""
    try:
        return open_recipe(job)
    except (SealBrokenError, RecipeInvalidError):
        return None


def _wait(attempt: JobAttempt, job: Job) -> float | None:
    """From the request to the start, less the time it was paused; of a first attempt that began."""
    began = attempt.started_at or attempt.claimed_at
    if attempt.fence != 1 or began is None:
        return None
    return max(0.0, (began - job.submitted_at).total_seconds() - job.paused_seconds)


def _elapsed(attempt: JobAttempt, ended_at: datetime) -> float:
    """What the clock says, when the agent could not say it."""
    began = attempt.started_at or attempt.claimed_at
    return max(0.0, (ended_at - began).total_seconds()) if began else 0.0


def _seconds(timings: Mapping[str, object], *names: str) -> float:
    """The sum of these parts; what is no sensible number of seconds counts nothing."""
    return math.fsum(_number(timings.get(name), DAY_SECONDS) for name in names)


def _bytes(timings: Mapping[str, object], name: str) -> int | None:
    return int(_number(timings.get(name), 2.0**50)) or None


def _number(value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value <= most else 0.0


def _source(timings: Mapping[str, object]) -> str:
    source = timings.get("load_source")
    return source[:16] if isinstance(source, str) and source.isidentifier() else ""
