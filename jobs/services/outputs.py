"""Pictures: to the trash, back again, made again, gone for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event, record_system
from gpuagent.protocol.recipe import FieldProblem, Recipe
from jobs.announcements import announce_output
from jobs.models import Job, Output
from jobs.recipes import exactly, open_manifest, open_recipe
from jobs.services.adapters import find_fitting
from jobs.services.inputs import find_inputs
from jobs.services.submission import Submitted, submit_job
from library.selectors import find_version
from studio.core.errors import InvalidInputError
from workspaces.access import require_in
from workspaces.services.artifacts import remove_artifacts

_BATCH = "batch"
# What a manifest's `engine` says, where its own word is not one for people.
_ENGINE_WORDS = {
    "dtype": "number format",
    "memory": "saving memory by",
    "edition": "edition of the studio",
    "runtime_image": "image",
    "threads": "CPU threads",
}


@transaction.atomic
def trash_output(*, output: Output, actor: Actor) -> bool:
    """Put a picture into the trash; False if it lies there already."""
    require_in(actor, output.workspace, Permission.OUTPUT_TRASH)
    now = timezone.now()
    if not Output.objects.filter(pk=output.pk, trashed_at=None).update(trashed_at=now):
        return False
    record_event(actor, "output.trashed", output.pk, {"workspace": output.workspace_id})
    announce_output(output, is_trashed=True)
    return True


@transaction.atomic
def restore_output(*, output: Output, actor: Actor) -> bool:
    """Bring a picture back from the trash; False if it was not there."""
    require_in(actor, output.workspace, Permission.OUTPUT_TRASH)
    trashed = Output.objects.filter(pk=output.pk, trashed_at__isnull=False)
    if not trashed.update(trashed_at=None):
        return False
    record_event(actor, "output.restored", output.pk, {"workspace": output.workspace_id})
    announce_output(output, is_trashed=False)
    return True


def rerun_output(
    *, output: Output, actor: Actor, idempotency_key: str | None = None, tier: object = None
) -> Submitted:
    """Make a picture again from its recipe: a new job for that one picture, in its project.

    As soon as `tier` says; if it says nothing, as soon as the first time.

    Raises:
        InvalidInputError: its model, starting picture or an adapter is gone; it says which.
    """
    recipe = open_recipe(output.job).only(output.index)
    _require_all(output, recipe)
    raw = exactly(recipe)
    project = output.project
    return submit_job(
        actor=actor,
        workspace=output.workspace,
        raw=raw,
        project_id=project.pk if project is not None and project.archived_at is None else None,
        idempotency_key=idempotency_key,
        rerun_of=output,
        tier=tier or output.job.tier,
    )


def _require_all(output: Output, recipe: Recipe) -> None:
    """Tell of everything that is gone at once, by the names it had.

    Raises:
        InvalidInputError: something is.
    """
    problems: list[FieldProblem] = []
    version = find_version(recipe.model)
    if version is None:
        name = output.job.model_version.asset.name
        message = f"The model {name} is no longer in the library. An admin can add it again."
        problems.append(FieldProblem(field="model", code="unknown_model", message=message))
    for check in (
        lambda: find_fitting(recipe, output.job.model_version, _adapter_names(output)),
        lambda: find_inputs(output.workspace, recipe),
    ):
        try:
            check()
        except InvalidInputError as error:
            problems += error.problems
    if problems:
        raise InvalidInputError(problems)


def _adapter_names(output: Output) -> dict[str, str]:
    """What its adapters were called when it was made, by digest."""
    said = open_manifest(output).get("adapters", [])
    listed = said if isinstance(said, list) else []
    return {str(one["digest"]): str(one["name"]) for one in listed}


class Verdict(StrEnum):
    """How a picture made again compares with its original."""

    IDENTICAL = "identical"
    SIMILAR = "similar"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A verdict, its sentence, and the picture it was compared with."""

    verdict: Verdict
    sentence: str
    original: Output


def compare_with_original(output: Output) -> Comparison | None:
    """The plain verdict on a re-run; None if the picture is no re-run."""
    job = Job.objects.select_related("rerun_of__picture").get(pk=output.job_id)
    original = job.rerun_of
    if original is None:
        return None
    if original.picture.sha256 == output.picture.sha256:
        return Comparison(
            verdict=Verdict.IDENTICAL,
            sentence="Identical: every byte is the same as in the original.",
            original=original,
        )
    if original.engine != output.engine:
        return Comparison(
            verdict=Verdict.SIMILAR,
            sentence=_similar(original.engine, output.engine),
            original=original,
        )
    return Comparison(
        verdict=Verdict.DIFFERENT,
        sentence="Same recipe and runtime, yet other bytes. Please tell an admin: "
        "this should not happen.",
        original=original,
    )


def _similar(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Why it is not identical, in words."""
    was, now = before.get(_BATCH, 1), after.get(_BATCH, 1)
    reasons = [] if was == now else [_made_together(was, now)]
    changed = [
        f"{_ENGINE_WORDS.get(key, key)} {_said(before, key)} → {_said(after, key)}"
        for key in sorted((set(before) | set(after)) - {_BATCH})
        if before.get(key) != after.get(key)
    ]
    if changed:
        reasons.append(f"other runtime ({', '.join(changed)})")
    return f"Similar: {'; '.join(reasons)}."


def _said(engine: Mapping[str, object], key: str) -> object:
    return engine.get(key, 1 if key == "edition" else "none")


def _made_together(was: object, now: object) -> str:
    if now == 1:
        return f"the original was made in a batch of {was}, this one alone"
    if was == 1:
        return f"the original was made alone, this one in a batch of {now}"
    return f"the original was made in a batch of {was}, this one in a batch of {now}"


def purge_trash(*, limit: int = 200) -> int:
    """Remove for good what has lain in the trash for longer than `TRASH_DAYS`; how many."""
    before = timezone.now() - timedelta(days=settings.TRASH_DAYS)
    old = Output.objects.filter(trashed_at__lt=before).select_related("picture", "thumbnail")
    outputs = list(old[:limit])
    for output in outputs:
        with transaction.atomic():
            gone, _rows = Output.objects.filter(pk=output.pk, trashed_at__lt=before).delete()
            if gone:  # else: somebody brought it back this very moment
                remove_artifacts([output.picture, output.thumbnail])
                where = {"workspace": output.workspace_id}
                record_system(output.organization_id, "output.removed", output.pk, where)
    return len(outputs)
