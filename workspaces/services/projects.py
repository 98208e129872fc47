"""Projects of a workspace: made, renamed, recolored, put away. Their names lie sealed."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.sealing import SealBrokenError
from studio.core.errors import invalid
from studio.core.ids import new_id
from workspaces.access import require_in
from workspaces.models import Project, Workspace
from workspaces.palette import COLORS
from workspaces.services.keys import open_in, seal_in

NAME_MAX = 120
NAME_KIND = "project_name"
COLOR_DEFAULT = "gray"
UNREADABLE = "(cannot be opened)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectChange:
    """What to change; None leaves as it is."""

    name: str | None = None
    color: str | None = None
    is_archived: bool | None = None


def project_name(project: Project) -> str:
    """The project's name, or a remark where its key is gone."""
    sealed = bytes(project.sealed_name)
    try:
        opened = open_in(project.workspace, sealed, kind=NAME_KIND, object_id=project.pk)
    except SealBrokenError:
        return UNREADABLE
    return opened.decode()


@transaction.atomic
def create_project(
    *, actor: Actor, workspace: Workspace, name: object, color: object = COLOR_DEFAULT
) -> Project:
    """A new project.

    Raises:
        InvalidInputError: the name is empty, too long or taken, or the color is none of ours.
    """
    require_in(actor, workspace, Permission.PROJECT_MANAGE)
    _lock(workspace)
    shown, color = _checked_name(workspace, name), _checked_color(color)
    project_id = new_id("prj")
    project = Project.objects.create(
        id=project_id,
        organization_id=workspace.organization_id,
        workspace=workspace,
        sealed_name=seal_in(workspace, shown.encode(), kind=NAME_KIND, object_id=project_id),
        color=color,
        created_by_id=actor.user_id,
    )
    record_event(actor, "project.created", project.pk, {"workspace": workspace.pk})
    return project


@transaction.atomic
def change_project(*, actor: Actor, project: Project, change: ProjectChange) -> bool:
    """Rename, recolor, archive or bring back; False if it was so already.

    Raises:
        InvalidInputError: the name is empty, too long or taken, or the color is none of ours.
    """
    workspace = project.workspace
    require_in(actor, workspace, Permission.PROJECT_MANAGE, noun="project")
    _lock(workspace)
    changed = {}
    if change.name is not None and change.name != project_name(project):
        shown = _checked_name(workspace, change.name, besides=project)
        sealed = seal_in(workspace, shown.encode(), kind=NAME_KIND, object_id=project.pk)
        project.sealed_name, changed["name"] = sealed, "sealed_name"
    if change.color is not None and change.color != project.color:
        project.color, changed["color"] = _checked_color(change.color), "color"
    is_archived = project.archived_at is not None
    if change.is_archived is not None and change.is_archived != is_archived:
        project.archived_at = timezone.now() if change.is_archived else None
        changed["is_archived"] = "archived_at"
    if not changed:
        return False
    project.save(update_fields=list(changed.values()))
    details = {"workspace": workspace.pk, "fields": sorted(changed)}
    record_event(actor, "project.changed", project.pk, details)
    return True


def _lock(workspace: Workspace) -> None:
    """One at a time in a workspace, so that no two take the same name."""
    Workspace.objects.select_for_update().filter(pk=workspace.pk).values_list("pk").first()


def _checked_name(workspace: Workspace, name: object, *, besides: Project | None = None) -> str:
    shown = " ".join(name.split()) if isinstance(name, str) else ""
    if not shown:
        raise invalid("name", "missing", "Give the project a name.")
    if len(shown) > NAME_MAX:
        message = f"The name has {len(shown)} characters; at most {NAME_MAX} fit."
        raise invalid("name", "too_long", message, len(shown), NAME_MAX)
    if not shown.isprintable():
        raise invalid("name", "unprintable", "The name has characters that cannot be shown.")
    others = Project.objects.filter(workspace=workspace, archived_at=None)
    for other in others.select_related("workspace"):
        is_other = besides is None or other.pk != besides.pk
        if is_other and project_name(other).casefold() == shown.casefold():
            message = "There is a project of this name already. Choose another name."
            raise invalid("name", "taken", message)
    return shown


def _checked_color(color: object) -> str:
    if not isinstance(color, str) or color not in COLORS:
        raise invalid("color", "unknown_color", f"Choose one of {', '.join(COLORS)}.")
    return color
