"""Making a workspace, and changing its name, its color and whether it is restricted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db import transaction

from accounts.actors import Actor
from accounts.models import Organization
from accounts.names import name_problems
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError
from workspaces.access import require_in, visible_workspaces
from workspaces.announcements import announce_access
from workspaces.models import Workspace
from workspaces.palette import COLORS

NAME_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be set; None leaves it as it is."""

    name: str | None = None
    color: str | None = None
    is_restricted: bool | None = None


@transaction.atomic
def create_workspace(
    *, actor: Actor, name: str, color: str = COLORS[0], is_restricted: bool = False
) -> Workspace:
    """A new workspace with a key of its own.

    Raises:
        ForbiddenError: the actor may not, or is a token for certain workspaces only.
        InvalidInputError: the name or the color cannot be.
    """
    actor.require(Permission.WORKSPACE_CREATE)
    checked = _checked(Changes(name=name, color=color, is_restricted=is_restricted))
    _check_free(actor, str(checked["name"]))
    workspace = Workspace.objects.create(organization_id=actor.organization_id, **checked)
    codes = {key: value for key, value in checked.items() if key != "name"}
    record_event(actor, "workspace.created", workspace.pk, codes)
    return workspace


@transaction.atomic
def change_workspace(*, actor: Actor, workspace: Workspace, changes: Changes) -> bool:
    """Set what is given; False if all of it was so already.

    Restricting shuts nobody out who may do it: owners and admins reach every workspace, and who
    manages this one does so by a grant, which stays.

    Raises:
        InvalidInputError: the name or the color cannot be.
    """
    require_in(actor, workspace, Permission.WORKSPACE_MANAGE)
    checked = _checked(changes)
    changed = {key: value for key, value in checked.items() if getattr(workspace, key) != value}
    if not changed:
        return False
    if "name" in changed:
        _check_free(actor, str(changed["name"]), but=workspace.pk)
    for key, value in changed.items():
        setattr(workspace, key, value)
    workspace.save(update_fields=sorted(changed))
    codes = {key: value for key, value in changed.items() if key != "name"}
    record_event(actor, "workspace.changed", workspace.pk, {"fields": sorted(changed), **codes})
    if "is_restricted" in changed:
        announce_access(workspace.pk)
    return True


def _checked(changes: Changes) -> dict[str, str | bool]:
    """The given values, all wrong ones named at once."""
    values: dict[str, str | bool] = {}
    problems: list[FieldProblem] = []
    if changes.name is not None:
        values["name"] = changes.name.strip()
        problems += name_problems(changes.name.strip(), NAME_MAX)
    if changes.color is not None:
        values["color"] = changes.color
        problems += _color_problems(changes.color)
    if changes.is_restricted is not None:
        values["is_restricted"] = changes.is_restricted
    if problems:
        raise InvalidInputError(problems)
    return values


def _check_free(actor: Actor, name: str, *, but: str = "") -> None:
    """Two of one name are taken for each other. Only those that the actor sees count."""
    # The lock makes one of a form that was sent twice.
    Organization.objects.select_for_update().get(pk=actor.organization_id)
    seen = visible_workspaces(replace(actor, workspace_id=""))
    if not seen.filter(name__iexact=name).exclude(pk=but).exists():
        return
    message = f"There is a workspace {name} already. Give this one another name."
    raise InvalidInputError([FieldProblem(field="name", code="taken", message=message, value=name)])


def _color_problems(color: str) -> list[FieldProblem]:
    if color in COLORS:
        return []
    message = f"There is no color {color!r}. Choose one of {', '.join(COLORS)}."
    return [
        FieldProblem(field="color", code="choice", message=message, value=color, limit=list(COLORS))
    ]
