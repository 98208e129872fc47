"""The order of one's own waiting jobs, and taking one out of the line for a while.

A line is what one person has waiting at one speed, in all workspaces of the organization: within
it the scheduler follows `position`, then age. A new job's position is its moment, so there is room
between any two for a third; only when that is used up, the line is numbered anew.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from jobs.announcements import announce_job, wake_dispatcher
from jobs.lifecycle import JobStatus
from jobs.models import Job
from studio.core.errors import ConflictError, InvalidInputError, invalid
from workspaces.access import require_in

# Places within a microsecond; a bigint holds them until the year 2255.
PLACES = 1_024
SECOND = 1_000_000 * PLACES
_EPOCH = datetime.fromtimestamp(0, tz=UTC)


class Move(StrEnum):
    """Where to, in one's own line. Up and down pass the next job of the same workspace."""

    FIRST = "first"
    LAST = "last"
    UP = "up"
    DOWN = "down"


def place_at(moment: datetime) -> int:
    """The position of a job that was asked for at this moment."""
    since = moment - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * PLACES


def chosen_move(value: object) -> Move:
    """Where to.

    Raises:
        InvalidInputError: that is no place.
    """
    try:
        return Move(str(value or ""))
    except ValueError:
        named = ", ".join(Move)
        message = f"Say where to: `to` one of {named}, or `before` or `after` the id of a job."
        raise invalid("to", "unknown_place", message, str(value)[:40]) from None


@transaction.atomic
def pause_job(*, job: Job, actor: Actor) -> bool:
    """Take a waiting job out of the line until it is resumed; False if it is paused already.

    Raises:
        ConflictError: it does not wait any more.
    """
    waiting = _waiting(job, actor)
    if waiting.paused_at is not None:
        return False
    Job.objects.filter(pk=job.pk).update(paused_at=timezone.now())
    _tell(job, actor, "job.paused")
    return True


@transaction.atomic
def resume_job(*, job: Job, actor: Actor) -> bool:
    """Put a paused job back where it was in the line; False if it is not paused.

    Raises:
        ConflictError: it does not wait any more.
    """
    waiting = _waiting(job, actor)
    if waiting.paused_at is None:
        return False
    paused = (timezone.now() - waiting.paused_at).total_seconds()
    Job.objects.filter(pk=job.pk).update(
        paused_at=None, paused_seconds=waiting.paused_seconds + max(0.0, paused)
    )
    _tell(job, actor, "job.resumed")
    return True


@transaction.atomic
def move_in_line(*, job: Job, actor: Actor, to: Move) -> bool:
    """Move a waiting job; False if it is there already.

    Raises:
        ConflictError: it does not wait any more.
    """
    waiting = _waiting(job, actor)
    others = _line(waiting)
    if to is Move.FIRST:
        beyond = others.filter(_before(waiting)).first()
        return beyond is not None and _put(waiting, actor, None, beyond)
    if to is Move.LAST:
        beyond = others.filter(_after(waiting)).last()
        return beyond is not None and _put(waiting, actor, beyond, None)
    here = others.filter(workspace_id=waiting.workspace_id)
    if to is Move.UP:
        beyond = here.filter(_before(waiting)).last()
        return beyond is not None and _put_before(waiting, actor, beyond)
    beyond = here.filter(_after(waiting)).first()
    return beyond is not None and _put_after(waiting, actor, beyond)


@transaction.atomic
def move_beside(*, job: Job, actor: Actor, before: str = "", after: str = "") -> bool:
    """Move a waiting job right before or right after another of the same line.

    Raises:
        ConflictError: it does not wait any more.
        InvalidInputError: the other is not in its line (any more).
    """
    waiting = _waiting(job, actor)
    field, other_id = ("before", before) if before else ("after", after)
    other = _line(waiting).filter(pk=other_id).first()
    if other is None:
        raise _no_such_place(field, other_id)
    return _put_before(waiting, actor, other) if before else _put_after(waiting, actor, other)


def _waiting(job: Job, actor: Actor) -> Job:
    """The job, locked, if it waits and is the actor's to steer: their own, or they manage there."""
    require_in(actor, job.workspace, Permission.JOB_CANCEL, noun="job")
    if job.created_by_id != actor.user_id:
        require_in(actor, job.workspace, Permission.WORKSPACE_MANAGE, noun="job")
    # Locked, so that no agent is given it meanwhile.
    waiting = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    if waiting.status == JobStatus.RUNNING.value:
        raise ConflictError(what="The job is being made already. You can cancel it.")
    if waiting.status != JobStatus.QUEUED.value:
        raise ConflictError(what="The job is over, it waits no more.")
    return waiting


def _line(job: Job) -> QuerySet[Job]:
    """The others of its line, the next first."""
    return (
        Job.objects.filter(
            organization_id=job.organization_id,
            created_by_id=job.created_by_id,
            tier=job.tier,
            status=JobStatus.QUEUED.value,
        )
        .exclude(pk=job.pk)
        .order_by("position", "submitted_at", "id")
    )


def _before(job: Job) -> Q:
    same = Q(position=job.position)
    return (
        Q(position__lt=job.position)
        | (same & Q(submitted_at__lt=job.submitted_at))
        | (same & Q(submitted_at=job.submitted_at, id__lt=job.pk))
    )


def _after(job: Job) -> Q:
    return ~_before(job) & ~Q(pk=job.pk)


def _put_before(job: Job, actor: Actor, other: Job) -> bool:
    return _put(job, actor, _line(job).filter(_before(other)).last(), other)


def _put_after(job: Job, actor: Actor, other: Job) -> bool:
    return _put(job, actor, other, _line(job).filter(_after(other)).first())


def _put(job: Job, actor: Actor, left: Job | None, right: Job | None) -> bool:
    """Between two that are neighbors without it; None is the line's end."""
    if _is_between(job, left, right):
        return False
    position = _position_between(left, right)
    if position is None:
        _number_anew(job)
        for neighbor in (left, right):
            if neighbor is not None:
                neighbor.refresh_from_db(fields=["position"])
        position = _position_between(left, right)
    Job.objects.filter(pk=job.pk).update(position=position)
    _tell(job, actor, "job.moved")
    return True


def _is_between(job: Job, left: Job | None, right: Job | None) -> bool:
    def place(one: Job) -> tuple[int, datetime, str]:
        return (one.position, one.submitted_at, one.pk)

    return (left is None or place(left) < place(job)) and (
        right is None or place(job) < place(right)
    )


def _position_between(left: Job | None, right: Job | None) -> int | None:
    """None if there is no room."""
    if right is None:
        least = left.position + 1 if left else 0
        return max(least, place_at(timezone.now()))
    if left is None:
        return right.position - SECOND
    middle = (left.position + right.position) // 2
    return middle if left.position < middle < right.position else None


def _number_anew(job: Job) -> None:
    """A second apart, the last one now: what comes later still comes after them."""
    others = list(_line(job))
    newest = place_at(timezone.now())
    for back, other in enumerate(reversed(others)):
        other.position = newest - back * SECOND
    Job.objects.bulk_update(others, ["position"], batch_size=500)
    wake_dispatcher(*[other.pk for other in others])


def _no_such_place(field: str, other_id: str) -> InvalidInputError:
    message = "That job is not in the same line: one person's waiting jobs of one speed."
    return invalid(field, "not_in_line", message, other_id[:40])


def _tell(job: Job, actor: Actor, action: str) -> None:
    record_event(actor, action, job.pk, {"workspace": job.workspace_id})
    announce_job(job, JobStatus.QUEUED)
    wake_dispatcher(job.pk)
