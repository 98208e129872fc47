"""What a member leaves behind in workspaces, and who answers for it afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from workspaces.models import Project, ShareLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """How many projects and share links somebody answers for."""

    projects: int
    share_links: int


def count_left(user_id: str) -> Left:
    """In the organization of the scope; revoked links, too, since they name their maker."""
    return Left(
        projects=Project.objects.filter(created_by_id=user_id).count(),
        share_links=ShareLink.objects.filter(created_by_id=user_id).count(),
    )


@transaction.atomic
def hand_over(*, user_id: str, successor_id: str) -> Left:
    """Put the successor in the place of who leaves, for projects and share links.

    This opens no workspace to the successor. Pictures keep the name of who made them.
    """
    return Left(
        projects=Project.objects.filter(created_by_id=user_id).update(created_by_id=successor_id),
        share_links=ShareLink.objects.filter(created_by_id=user_id).update(
            created_by_id=successor_id
        ),
    )
