"""Putting pictures into projects and taking them out."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from jobs.models import Output
from studio.core.errors import invalid
from workspaces.access import require_in
from workspaces.models import Project, Workspace

AT_ONCE_MAX = 1_000


@transaction.atomic
def place_outputs(
    *, actor: Actor, workspace: Workspace, output_ids: Sequence[str], project: Project | None
) -> int:
    """Put pictures into a project of the workspace, or into none; how many that moved.

    Raises:
        InvalidInputError: too many, or one is not in the workspace; none was moved.
    """
    require_in(actor, workspace, Permission.PROJECT_MANAGE)
    if project is not None and project.workspace_id != workspace.pk:
        raise invalid("project", "unknown_project", "That project is not in this workspace.")
    if project is not None and project.archived_at is not None:
        message = "The project is archived. Bring it back, or choose another."
        raise invalid("project", "archived", message)
    wanted = checked_outputs(workspace, output_ids)
    moved = list(
        Output.objects.filter(pk__in=wanted)
        .exclude(project=project)
        .select_for_update(of=("self",))
        .values_list("pk", flat=True)
    )
    Output.objects.filter(pk__in=moved).update(project=project)
    if moved:
        details = {"workspace": workspace.pk, "pictures": len(moved), "first": moved[0]}
        if project is not None:
            record_event(actor, "project.pictures_placed", project.pk, details)
        else:
            record_event(actor, "project.pictures_removed", workspace.pk, details)
    return len(moved)


@transaction.atomic
def place_in_and_out(
    *, actor: Actor, project: Project, add: Sequence[str], remove: Sequence[str]
) -> tuple[int, int]:
    """Put pictures into the project and take others out of it; how many each.

    Raises:
        InvalidInputError: as `place_outputs`, or one is in both lists; nothing was done.
    """
    if both := set(add) & set(remove):
        message = "A picture cannot be both put in and taken out."
        raise invalid("remove", "in_both", message, min(both)[:40])
    workspace = project.workspace
    require_in(actor, workspace, Permission.PROJECT_MANAGE, noun="project")
    added = 0
    if add:
        added = place_outputs(actor=actor, workspace=workspace, output_ids=add, project=project)
    known = Output.objects.filter(pk__in=checked_outputs(workspace, remove), project=project)
    out = list(known.values_list("pk", flat=True))
    removed = 0
    if out:
        removed = place_outputs(actor=actor, workspace=workspace, output_ids=out, project=None)
    return added, removed


def checked_outputs(workspace: Workspace, output_ids: Sequence[str]) -> list[str]:
    """The ids without doubles, if each is a picture of the workspace.

    Raises:
        InvalidInputError: there are too many, or one is not there; the first is named.
    """
    wanted = list(dict.fromkeys(output_ids))
    if len(wanted) > AT_ONCE_MAX:
        message = f"{len(wanted)} pictures are too many at once; at most {AT_ONCE_MAX:,} are taken."
        raise invalid("outputs", "too_many", message, len(wanted), AT_ONCE_MAX)
    here = Output.objects.filter(workspace=workspace, pk__in=wanted, trashed_at=None)
    known = set(here.values_list("pk", flat=True))
    for output_id in wanted:
        if output_id not in known:
            message = f"There is no picture {output_id[:40]!r} in this workspace."
            raise invalid("outputs", "unknown_picture", message, output_id[:40])
    return wanted
