"""Taking a member out of an organization, with all that hangs on them, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import ApiToken, Invitation
from accounts.roles import Permission
from accounts.services.audit import record_event
from accounts.services.members import check_successor, end_membership, lock_removable
from jobs.lifecycle import JobStatus
from jobs.models import Job
from jobs.services.transitions import move_job
from workspaces.services.handing_over import count_left, hand_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What a member has in an organization; the first three go over to a successor."""

    projects: int
    share_links: int
    invitations: int
    tokens: int
    queued_jobs: int

    @property
    def needs_successor(self) -> bool:
        """Whether there is anything to take over."""
        return bool(self.projects or self.share_links or self.invitations)


def belongings_of(actor: Actor, user_id: str) -> Belongings:
    """Of a member of the actor's organization."""
    left = count_left(user_id)
    invitations = Invitation.objects.filter(
        invited_by_id=user_id, accepted_at=None, revoked_at=None
    )
    tokens = ApiToken.objects.filter(
        user_id=user_id, organization_id=actor.organization_id, revoked_at=None
    )
    return Belongings(
        projects=left.projects,
        share_links=left.share_links,
        invitations=invitations.count(),
        tokens=tokens.count(),
        queued_jobs=_queued(user_id).count(),
    )


@transaction.atomic
def remove_member(
    *, actor: Actor, user_id: str, successor_id: str = "", cancel_jobs: bool = False
) -> None:
    """Remove a member, or leave oneself. Pictures and running jobs stay where they are.

    Raises:
        NotFoundError: there is no such member.
        ForbiddenError, AboveError: not for this actor to do.
        LastOwnerError: nobody would lead the organization.
        InvalidInputError: there is something to take over, and nobody who does.
    """
    is_leaving = user_id == actor.user_id
    if cancel_jobs and not is_leaving:
        actor.require(Permission.JOB_CANCEL)
    membership = lock_removable(actor, user_id)
    if successor_id or belongings_of(actor, user_id).needs_successor:
        check_successor(actor, user_id, successor_id)
    if cancel_jobs:
        _cancel_queued(actor, user_id)
    if successor_id:
        left = hand_over(user_id=user_id, successor_id=successor_id)
        details = {
            "successor": successor_id,
            "projects": left.projects,
            "share_links": left.share_links,
        }
        record_event(actor, "member.handed_over", user_id, details)
    end_membership(actor=actor, membership=membership, successor_id=successor_id)


def _queued(user_id: str) -> QuerySet[Job]:
    return Job.objects.filter(created_by_id=user_id, status=JobStatus.QUEUED.value)


def _cancel_queued(actor: Actor, user_id: str) -> None:
    now = timezone.now()
    for job in _queued(user_id).select_related("workspace").order_by("id"):
        # One that an agent has just been given is no longer queued, and goes on.
        is_ours = _queued(user_id).filter(pk=job.pk).update(cancel_requested_at=now)
        if is_ours and move_job(job, JobStatus.CANCELED):
            record_event(actor, "job.canceled", job.pk, {"workspace": job.workspace_id})
