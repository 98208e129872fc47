"""Grids: one recipe with other values in each cell, submitted together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.asked import kind_asked
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.taxonomy import SAMPLERS, AssetKind
from jobs.axes import NAMES, Axis, AxisError, apply_value, cells, check_cells, read_axis
from jobs.models import Grid, GridCell, Job
from jobs.scheduling import Tier
from jobs.services.batches import draw_once
from jobs.services.submission import IDEMPOTENCY_KEY_MAX, submit_job
from library.selectors import usable_versions
from studio.core.errors import InvalidInputError, NotFoundError, invalid
from studio.core.ids import new_id
from workspaces.access import require_in
from workspaces.models import Workspace
from workspaces.services.keys import open_in, seal_in

KIND = "grid"
PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A grid before it is asked for: requests of its cells, each with the values it stands at."""

    axes: tuple[Axis, ...]
    requests: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """`is_new` is False if the idempotency key named a grid that exists already."""

    grid: Grid
    is_new: bool


def plan_grid(
    *, actor: Actor, workspace: Workspace, raw: Mapping[str, object], axes: object
) -> Plan:
    """The cells of a grid: one picture each, all with one seed unless that varies.

    Raises:
        InvalidInputError: an axis cannot be read or put into the recipe, or they make too many.
        ForbiddenError: the role may not submit.
    """
    require_in(actor, workspace, Permission.JOB_SUBMIT)
    try:
        read = _axes(axes)
        check_cells(read)
        if kind_asked(raw) is not AssetKind.CHECKPOINT:
            message = "Upscaling has no settings that could vary. Make a grid of what is drawn."
            raise invalid("scale", "not_in_grid", message)
        base = {**draw_once(workspace=workspace, raw=_with_lists(raw)), "num_images_per_prompt": 1}
        models = _models(read)
        requests = []
        for values in cells(read):
            one = dict(base)
            for axis, value in zip(read, values, strict=True):
                apply_value(
                    one, axis, models.get(value.lower(), value) if axis.kind == "model" else value
                )
            requests.append(one)
    except AxisError as error:
        raise InvalidInputError([error.problem]) from None
    return Plan(axes=tuple(read), requests=tuple(requests))


def make_grid(
    *,
    actor: Actor,
    workspace: Workspace,
    plan: Plan,
    project_id: object = None,
    tier: object = None,
    idempotency_key: str | None = None,
) -> Made:
    """Queue all cells, or none; in the background if no tier is named.

    Raises:
        InvalidInputError: the recipe of a cell is wrong; it is said of which.
    """
    key = idempotency_key or None
    if key is not None and len(key) > IDEMPOTENCY_KEY_MAX:
        message = f"The idempotency key has {len(key)} characters; at most 255 fit."
        raise invalid("idempotency_key", "too_long", message, len(key), IDEMPOTENCY_KEY_MAX)
    if key and (known := _find(actor, workspace, key)):
        return Made(grid=known, is_new=False)
    try:
        with transaction.atomic():
            grid = _create(actor, workspace, plan, key)
            for place, (raw, values) in enumerate(
                zip(plan.requests, cells(plan.axes), strict=True)
            ):
                job = _submit(actor, workspace, plan, raw, values, project_id, tier)
                GridCell.objects.create(
                    organization_id=workspace.organization_id, grid=grid, job=job, place=place
                )
    except IntegrityError:
        # The other half of a double click won the race.
        known = _find(actor, workspace, key or "")
        if known is None:
            raise
        return Made(grid=known, is_new=False)
    return Made(grid=grid, is_new=True)


def grids_of(workspace: Workspace) -> list[Grid]:
    """The newest grids of a workspace."""
    grids = Grid.objects.filter(workspace=workspace).select_related("workspace", "created_by")
    return list(grids.order_by("-id")[:PAGE])


def get_grid(
    actor: Actor, grid_id: str, *, permission: Permission, workspace: Workspace | None = None
) -> Grid:
    """A grid that the actor can reach, and of the workspace if one is given.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: they may not do this in its workspace.
    """
    grids = Grid.objects.select_related("workspace", "created_by").filter(
        pk=grid_id, organization_id=actor.organization_id
    )
    if workspace is not None:
        grids = grids.filter(workspace=workspace)
    grid = grids.first()
    if grid is None:
        raise NotFoundError(noun="grid")
    require_in(actor, grid.workspace, permission, noun="grid")
    return grid


def axes_of(grid: Grid) -> list[Axis]:
    """What varies in it.

    Raises:
        SealBrokenError: the row was tampered with, or its key is gone.
    """
    sealed = bytes(grid.sealed_axes)
    opened = json.loads(open_in(grid.workspace, sealed, kind=KIND, object_id=grid.pk))
    return [Axis(parameter=one["parameter"], values=tuple(one["values"])) for one in opened]


def shown_value(axis: Axis, value: str) -> str:
    """A value as people call it."""
    if axis.kind == "sampler" and value in SAMPLERS:
        return SAMPLERS[value].label
    return value


def _axes(given: object) -> list[Axis]:
    """From a list, or the JSON text of it that the form sends."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            given = None
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        message = '`axes` is a list of up to three of {"parameter": …, "values": …}.'
        raise invalid("axes", "not_a_list", message)
    if len(given) > len(NAMES):
        raise invalid("axes", "too_many", "A grid has one to three axes.", len(given), len(NAMES))
    read = [
        read_axis(name, one.get("parameter"), one.get("values"))
        for name, one in zip(NAMES, given, strict=False)
    ]
    return [_by_ids(axis) for axis in read]


def _by_ids(axis: Axis) -> Axis:
    """Samplers by their ids, however they were called."""
    if axis.kind != "sampler":
        return axis
    ids = {sampler.label.lower(): sampler.id for sampler in SAMPLERS.values()}
    values = tuple(ids.get(value.lower(), value) for value in axis.values)
    return Axis(parameter=axis.parameter, values=values)


def _models(axes: Sequence[Axis]) -> dict[str, str]:
    """Digests of models by their names in small letters, if they vary."""
    if not any(axis.kind == "model" for axis in axes):
        return {}
    return {version.asset.name.lower(): version.digest for version in usable_versions()}


def _with_lists(raw: Mapping[str, object]) -> dict[str, object]:
    """LoRAs as a list, also where the form sends them as text."""
    loras = raw.get("loras")
    if not isinstance(loras, str) or not loras:
        return dict(raw)
    try:
        return {**raw, "loras": json.loads(loras)}
    except (ValueError, RecursionError):
        return dict(raw)


def _find(actor: Actor, workspace: Workspace, key: str) -> Grid | None:
    grids = Grid.objects.select_related("workspace", "created_by")
    return grids.filter(
        workspace=workspace, created_by_id=actor.user_id, idempotency_key=key
    ).first()


def _create(actor: Actor, workspace: Workspace, plan: Plan, key: str | None) -> Grid:
    grid_id = new_id("grd")
    content = [{"parameter": axis.parameter, "values": axis.values} for axis in plan.axes]
    grid = Grid.objects.create(
        id=grid_id,
        organization_id=workspace.organization_id,
        workspace=workspace,
        sealed_axes=seal_in(workspace, json.dumps(content).encode(), kind=KIND, object_id=grid_id),
        idempotency_key=key,
        created_by_id=actor.user_id,
    )
    details = {"workspace": workspace.pk, "pictures": len(plan.requests)}
    record_event(actor, "grid.created", grid.pk, details)
    return grid


def _submit(
    actor: Actor,
    workspace: Workspace,
    plan: Plan,
    raw: Mapping[str, object],
    values: Sequence[str],
    project_id: object,
    tier: object,
) -> Job:
    try:
        return submit_job(
            actor=actor,
            workspace=workspace,
            raw=raw,
            project_id=project_id,
            tier=tier if tier not in (None, "") else Tier.BACKGROUND.value,
        ).job
    except InvalidInputError as error:
        told = zip(plan.axes, values, strict=True)
        where = ", ".join(f"{axis.label} {shown_value(axis, value)[:40]}" for axis, value in told)
        problems = [
            FieldProblem(
                field=problem.field,
                code=problem.code,
                message=f"{problem.message} ({where})",
                value=problem.value,
                limit=problem.limit,
            )
            for problem in error.problems
        ]
        raise InvalidInputError(problems) from None
