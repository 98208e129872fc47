"""Submitting a job: checked, priced, sealed and queued in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.asked import kind_asked
from gpuagent.protocol.batching import batch_key
from gpuagent.protocol.recipe import (
    SEED_MAX,
    Recipe,
    RecipeInvalidError,
)
from gpuagent.protocol.recipe_parsing import parse_recipe
from jobs.announcements import announce_job, wake_dispatcher
from jobs.costs import cost_of
from jobs.estimates import Cost, estimate_cost
from jobs.lifecycle import JobStatus
from jobs.models import Agent, Job, Output
from jobs.recipes import seal_recipe
from jobs.room import Wish, too_large
from jobs.scheduling import Tier
from jobs.search import index_terms
from jobs.services.adapters import Found, bytes_of, find_fitting, laid_of, with_called
from jobs.services.enlarging import check_kind, with_size
from jobs.services.families import for_family
from jobs.services.inputs import Inputs, attach_inputs, find_inputs, hold_inputs, pixels_of
from jobs.services.mapping import check_mappers, first_model, with_mappers
from jobs.services.ordering import place_at
from jobs.services.tuning import no_room_for_hires, varies, with_tile
from library.models import ModelVersion
from library.selectors import find_version
from studio.core.errors import ConflictError, InvalidInputError, invalid
from studio.core.ids import new_id
from workspaces.access import require_in
from workspaces.models import Project, Workspace

IDEMPOTENCY_KEY_MAX = 255
BATCH_KEY_CHARACTERS = 16
_KEY_ELSEWHERE = "This idempotency key was used in another workspace. Send a new one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """`is_new` is False if the idempotency key named a job that exists already."""

    job: Job
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    recipe: Recipe
    version: ModelVersion
    inputs: Inputs
    cost: Cost
    project: Project | None
    tier: Tier
    search_terms: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Why there is a job: the key of the request, what it makes again."""

    key: str | None
    rerun_of: Output | None
    retry_of: Job | None


def submit_job(
    *,
    actor: Actor,
    workspace: Workspace,
    raw: Mapping[str, object],
    idempotency_key: str | None = None,
    rerun_of: Output | None = None,
    retry_of: Job | None = None,
    project_id: object = None,
    tier: object = None,
) -> Submitted:
    """Queue what `raw` asks for. No model means the library's first; no seed a random one.

    What is made goes into the project, if one is named. `tier` is how soon, `fast` if left out:
    it stands beside the recipe, which says what is made and stays exact.

    Raises:
        InvalidInputError: something about it is wrong; every field is named.
        ForbiddenError: the role may not submit.
        ConflictError: the idempotency key names a job of another workspace.
    """
    require_in(actor, workspace, Permission.JOB_SUBMIT)
    if idempotency_key and (existing := _find(actor, workspace, idempotency_key)):
        return Submitted(job=existing, is_new=False)
    origin = _Origin(key=idempotency_key, rerun_of=rerun_of, retry_of=retry_of)
    project, chosen = _find_project(workspace, project_id), _find_tier(tier)
    checked = _check(workspace, raw, idempotency_key, project, chosen)
    try:
        with transaction.atomic():
            job = _create(actor, workspace, checked, origin)
    except IntegrityError:
        # The other half of a double click won the race.
        existing = _find(actor, workspace, idempotency_key or "")
        if existing is None:
            if _is_used(actor, idempotency_key):
                raise ConflictError(what=_KEY_ELSEWHERE) from None
            raise
        return Submitted(job=existing, is_new=False)
    return Submitted(job=job, is_new=True)


def _find(actor: Actor, workspace: Workspace, idempotency_key: str) -> Job | None:
    """In this workspace alone: the others may be closed to the actor by now, or to their token."""
    mine = Job.objects.select_related("workspace", "model_version__asset")
    return mine.filter(
        workspace=workspace, created_by_id=actor.user_id, idempotency_key=idempotency_key
    ).first()


def _is_used(actor: Actor, idempotency_key: str | None) -> bool:
    mine = Job.objects.filter(created_by_id=actor.user_id)
    return bool(idempotency_key) and mine.filter(idempotency_key=idempotency_key).exists()


def with_defaults(raw: Mapping[str, object]) -> dict[str, object]:
    """The request with the library's first model (of its kind: an upscaler for an upscale) and a
    random seed, where it names none.
    """
    values = {key: value for key, value in raw.items() if value is not None}
    if values.get("model") in (None, ""):
        first = first_model(kind_asked(values), values)
        if first is not None:
            values["model"] = first.digest
    if values.get("seed") in (None, ""):
        values["seed"] = secrets.randbelow(SEED_MAX + 1)
    if varies(values) and values.get("variation_seed") in (None, ""):
        values["variation_seed"] = secrets.randbelow(SEED_MAX + 1)
    return values


def _find_project(workspace: Workspace, project_id: object) -> Project | None:
    if project_id in (None, ""):
        return None
    known = Project.objects.filter(workspace=workspace)
    project = known.filter(pk=project_id).first() if isinstance(project_id, str) else None
    if project is None:
        message = "That project is not in this workspace. Choose another, or none."
        raise invalid("project", "unknown_project", message)
    if project.archived_at is not None:
        message = "The project is archived. Bring it back, or choose another."
        raise invalid("project", "archived", message)
    return project


def find_model(digest: str) -> ModelVersion:
    """The model of this digest.

    Raises:
        InvalidInputError: the organization's library has none.
    """
    version = find_version(digest)
    if version is None:
        raise invalid("model", "unknown_model", "There is no such model here. Choose another.")
    return version


def _find_tier(tier: object) -> Tier:
    if tier in (None, ""):
        return Tier.FAST
    try:
        return Tier(str(tier))
    except ValueError:
        named = ", ".join(Tier)
        message = f"There is no tier {str(tier)[:40]!r}. Choose one of: {named}."
        raise invalid("tier", "unknown_tier", message, str(tier)[:40]) from None


def _check(
    workspace: Workspace,
    raw: Mapping[str, object],
    key: str | None,
    project: Project | None,
    tier: Tier,
) -> _Checked:
    if key is not None and len(key) > IDEMPOTENCY_KEY_MAX:
        message = f"The idempotency key has {len(key)} characters; at most 255 fit."
        raise invalid("idempotency_key", "too_long", message, len(key), IDEMPOTENCY_KEY_MAX)
    try:
        recipe = parse_recipe(with_defaults(raw))
    except RecipeInvalidError as error:
        raise InvalidInputError(error.problems) from error
    version = find_model(recipe.model)
    check_kind(recipe, version)
    recipe = for_family(with_tile(recipe, raw, version), raw, version)
    recipe = with_mappers(with_called(recipe, raw, version))
    adapters = find_fitting(recipe, version)
    check_mappers(recipe, adapters)
    inputs = find_inputs(workspace, recipe)
    recipe = with_size(recipe, inputs)
    cost = cost_of(
        recipe,
        version,
        picture_pixels=pixels_of(inputs),
        adapters_bytes=bytes_of(adapters),
    )
    _refuse_what_fits_nowhere(recipe, version, cost, adapters, pixels_of(inputs))
    return _Checked(
        recipe=recipe,
        version=version,
        inputs=inputs,
        cost=cost,
        project=project,
        tier=tier,
        search_terms=index_terms(workspace, recipe.prompt, recipe.negative_prompt),
    )


def _refuse_what_fits_nowhere(
    recipe: Recipe, version: ModelVersion, cost: Cost, beside: Found, picture_pixels: int
) -> None:
    """Only if some agent has said how much it has: before that nothing is known."""
    largest = Agent.objects.aggregate(largest=Max("memory_bytes"))["largest"]
    if not largest or cost.memory_bytes <= largest:
        return
    if recipe.is_hires:
        weights = version.weights_bytes + bytes_of(beside)

        def needs(asked: Recipe) -> int:
            return estimate_cost(
                asked,
                weights_bytes=weights,
                seconds_per_pass=0.0,
                picture_pixels=picture_pixels,
            ).memory_bytes

        raise no_room_for_hires(recipe, needs, largest)
    if not recipe.is_drawn:
        raise _no_room_for_result(recipe, cost, largest)
    wish = Wish(
        model=version.asset.name,
        width=recipe.width,
        height=recipe.height,
        laid=laid_of(beside),
        needs=lambda width, height, laid_bytes, has_picture: (
            estimate_cost(
                replace(recipe, width=width, height=height),
                weights_bytes=version.weights_bytes + laid_bytes,
                seconds_per_pass=0.0,
                picture_pixels=picture_pixels if has_picture else 0,
            ).memory_bytes
        ),
    )
    raise InvalidInputError([too_large(wish, largest)])


def _no_room_for_result(recipe: Recipe, cost: Cost, largest: int) -> InvalidInputError:
    message = (
        f"A result of {recipe.width} × {recipe.height} needs about "
        f"{cost.memory_bytes / 1024**3:.1f} GiB; the largest agent has "
        f"{largest / 1024**3:.1f} GiB. {'Choose ×2.' if recipe.scale > 2 else 'Make it smaller.'}"
    )
    field = "scale" if recipe.is_upscale else "image"
    return invalid(field, "does_not_fit", message, recipe.width * recipe.height)


def _create(actor: Actor, workspace: Workspace, checked: _Checked, origin: _Origin) -> Job:
    recipe, job_id, now = checked.recipe, new_id("job"), timezone.now()
    hold_inputs(checked.inputs)
    job = Job.objects.create(
        id=job_id,
        organization_id=workspace.organization_id,
        workspace=workspace,
        created_by_id=actor.user_id,
        tier=checked.tier.value,
        model_version=checked.version,
        sealed_recipe=seal_recipe(workspace, recipe, job_id=job_id),
        project=checked.project,
        search_terms=checked.search_terms,
        rerun_of=origin.rerun_of,
        idempotency_key=origin.key or None,
        width=recipe.result_size[0],
        height=recipe.result_size[1],
        count=recipe.num_images_per_prompt,
        cost_seconds=checked.cost.seconds,
        memory_bytes=checked.cost.memory_bytes,
        # What is made again is to be the same again, so it is made alone.
        batch_key="" if origin.rerun_of is not None else batch_key(recipe)[:BATCH_KEY_CHARACTERS],
        position=place_at(now),
        submitted_at=now,
    )
    attach_inputs(job, checked.inputs)
    codes: dict[str, object] = {"workspace": workspace.pk, "pictures": job.count, "tier": job.tier}
    if origin.rerun_of is not None:
        codes["again"] = origin.rerun_of.pk
    if origin.retry_of is not None:
        codes["retry"] = origin.retry_of.pk
    record_event(actor, "job.submitted", job.pk, codes)
    announce_job(job, JobStatus.QUEUED)
    wake_dispatcher(job.pk)
    return job
