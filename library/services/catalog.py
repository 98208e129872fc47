"""What the library says about a model, changed; and models taken out of choice and put back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from library.models import ModelAsset
from library.presets import check_presets
from library.uploads import LICENCE_MAX, TEXT_MAX
from studio.core.errors import InvalidInputError, NotFoundError, invalid
from studio.core.scoping import system_scope

PROMPTS_MAX = 12
PROMPT_MAX_CHARACTERS = 1_000
CHANGEABLE = ("licence", "description", "example_prompts", "presets")
_TEXTS = {"licence": LICENCE_MAX, "description": TEXT_MAX}


def get_asset(actor: Actor, asset_id: str, *, permission: Permission) -> ModelAsset:
    """An entry that the actor's organization sees, removed ones included.

    Public entries are everybody's: only operators change them.

    Raises:
        NotFoundError: there is none.
        ForbiddenError: the actor may not.
    """
    actor.require(Permission.MODEL_VIEW)
    assets = ModelAsset.objects.prefetch_related("versions__files")
    asset = assets.filter(pk=asset_id).first() if "\0" not in asset_id else None
    if asset is None:
        raise NotFoundError(noun="model")
    actor.require(permission)
    if permission is not Permission.MODEL_VIEW and asset.organization_id is None:
        actor.require(Permission.FLEET_MANAGE)
    return asset


def may_change(actor: Actor, asset: ModelAsset) -> bool:
    """Whether the actor may change and remove an entry."""
    is_own = asset.organization_id is not None
    return actor.can(Permission.MODEL_MANAGE) and (is_own or actor.can(Permission.FLEET_MANAGE))


def change_asset(*, actor: Actor, asset_id: str, said: Mapping[str, object]) -> ModelAsset:
    """Say something else about a model; what is left out stays. Files and hashes never change.

    Raises:
        InvalidInputError: every wrong field is named.
    """
    asset = get_asset(actor, asset_id, permission=Permission.MODEL_MANAGE)
    fresh = _checked(said)
    changed = [field for field, value in fresh.items() if getattr(asset, field) != value]
    if changed:
        for field in changed:
            setattr(asset, field, fresh[field])
        _save(actor, asset, changed, "model.changed", {"fields": sorted(changed)})
    return asset


def remove_asset(*, actor: Actor, asset_id: str) -> ModelAsset:
    """Take a model out of choice. Its files stay: what was made with it can be made again."""
    asset = get_asset(actor, asset_id, permission=Permission.MODEL_MANAGE)
    if asset.removed_at is None:
        asset.removed_at = timezone.now()
        _save(actor, asset, ["removed_at"], "model.removed", {})
    return asset


def restore_asset(*, actor: Actor, asset_id: str) -> ModelAsset:
    """Have it chosen again."""
    asset = get_asset(actor, asset_id, permission=Permission.MODEL_MANAGE)
    if asset.removed_at is not None:
        asset.removed_at = None
        _save(actor, asset, ["removed_at"], "model.restored", {})
    return asset


@transaction.atomic
def _save(
    actor: Actor, asset: ModelAsset, fields: list[str], action: str, details: dict[str, object]
) -> None:
    """Rows that are public can be written by the system alone."""
    with system_scope() if asset.organization_id is None else nullcontext():
        asset.save(update_fields=fields)
    record_event(actor, action, asset.pk, details)


def _checked(said: Mapping[str, object]) -> dict[str, object]:
    if unknown := sorted(set(said) - set(CHANGEABLE)):
        allowed = ", ".join(CHANGEABLE)
        message = f"Only {allowed} can be changed; another file is a new version."
        raise invalid(unknown[0][:64], "unknown_field", message)
    fresh: dict[str, object] = {}
    problems: list[FieldProblem] = []
    for field, most in _TEXTS.items():
        if field not in said:
            continue
        text = said[field]
        if not isinstance(text, str) or len(text.strip()) > most or "\0" in text:
            message = f"The {field} must be a text of at most {most:,} characters."
            problems.append(FieldProblem(field=field, code="bad_text", message=message))
            continue
        fresh[field] = text.strip()
    if "example_prompts" in said:
        prompts = _prompts(said["example_prompts"])
        if prompts is None:
            message = f"Give a list of up to {PROMPTS_MAX} prompts of at most "
            message += f"{PROMPT_MAX_CHARACTERS:,} characters."
            problem = FieldProblem(field="example_prompts", code="bad_list", message=message)
            problems.append(problem)
        fresh["example_prompts"] = prompts
    if "presets" in said:
        try:
            fresh["presets"] = _presets(said["presets"])
        except InvalidInputError as error:
            problems += error.problems
    if problems:
        raise InvalidInputError(problems)
    return fresh


def _prompts(value: object) -> list[str] | None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    prompts = [text.strip() for text in value if text.strip()]
    is_short = all(len(text) <= PROMPT_MAX_CHARACTERS and "\0" not in text for text in prompts)
    return prompts if is_short and len(prompts) <= PROMPTS_MAX else None


def _presets(value: object) -> object:
    if not isinstance(value, list):
        raise invalid("presets", "not_a_list", "Presets are a list of objects.")
    return check_presets(value)
