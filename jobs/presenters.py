"""What the room's templates are given. Reads only."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol import recipe as limits
from gpuagent.protocol.controls import CONTROLS_MAX
from gpuagent.protocol.families import default_sampler
from gpuagent.protocol.loras import LORAS_MAX
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import REFERENCES_MAX
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER, SAMPLERS, Architecture, AssetKind
from gpuagent.protocol.tuning import SIGMAS
from jobs.adapter_choices import adapter_choices
from jobs.axes import NAMES, PARAMETERS
from jobs.control_choices import control_choices, control_facts, kind_choices, reference_models
from jobs.drawer import queue_context
from jobs.enlarging_choices import (
    can_process,
    refining_choices,
    tile_control,
    upscale_choices,
    upscaler_choices,
)
from jobs.finishing_choices import finishing_choices
from jobs.forecast import TIERS
from jobs.lifecycle import JOB_OPEN, JobStatus
from jobs.messages import failure_sentence
from jobs.models import Job, Output
from jobs.preset_choices import preset_choice, with_settings
from jobs.recipes import open_manifest, open_recipe
from jobs.sampler_choices import sampler_choices
from jobs.selectors import (
    EVERYTHING,
    Filters,
    count_agents,
    count_outputs,
    gallery_page,
    outputs_of,
    projects_of,
    warm_digests,
)
from jobs.services.outputs import compare_with_original
from jobs.wording import MEANINGS, tier_name, undrawn_name
from library.models import ModelVersion
from library.presets import usable_presets
from library.selectors import usable_versions
from workspaces.models import Project, Workspace
from workspaces.selectors import who_reaches
from workspaces.services.projects import project_name
from workspaces.signing import media_url

LIMITS = {
    "prompt_max_characters": limits.PROMPT_MAX_CHARACTERS,
    "steps_min": limits.STEPS_MIN,
    "steps_max": limits.STEPS_MAX,
    "guidance_min": limits.GUIDANCE_MIN,
    "guidance_max": limits.GUIDANCE_MAX,
    "side_min": limits.SIDE_MIN,
    "side_max": limits.SIDE_MAX,
    "side_multiple": limits.SIDE_MULTIPLE,
    "pictures_max": limits.PICTURES_MAX,
    "clip_skip_max": limits.CLIP_SKIP_MAX,
    "strength_min": limits.STRENGTH_MIN,
    "strength_max": limits.STRENGTH_MAX,
    "mask_blur_max": limits.MASK_BLUR_MAX,
    "mask_padding_max": limits.MASK_PADDING_MAX,
    "loras_max": LORAS_MAX,
    "controls_max": CONTROLS_MAX,
    "references_max": REFERENCES_MAX,
}


def is_see_through(output: Output) -> bool:
    """Whether parts of it may be transparent: pages then show what is behind."""
    return output.job.model_version.architecture == Architecture.U2NET.value


def output_tile(output: Output) -> dict[str, Any]:
    """A finished picture in the gallery."""
    picture = output.picture
    return {
        "job_id": output.job_id,
        "index": output.index,
        "status": JobStatus.SUCCEEDED.value,
        "seed": output.seed,
        "width": picture.width,
        "height": picture.height,
        "project_id": output.project_id,
        "output_id": output.pk,
        "thumb_url": media_url(output.thumbnail),
        "picture_url": media_url(picture),
        "alt": f"Picture {output.index + 1}, seed {output.seed}",
        "error_message": None,
        "can_cancel": False,
        "url": reverse("output", args=[output.workspace_id, output.pk]),
        "is_see_through": is_see_through(output),
        "created_at": output.created_at,
    }


def _unmade_tile(job: Job, index: int, *, can_cancel: bool) -> dict[str, Any]:
    failed = job.status == JobStatus.FAILED.value
    return {
        "job_id": job.pk,
        "index": index,
        "status": job.status,
        "seed": None,
        "width": job.width,
        "height": job.height,
        "project_id": job.project_id,
        "output_id": None,
        "error_message": failure_sentence(job.error_code, job.error_data) if failed else None,
        "is_paused": job.status == JobStatus.QUEUED.value and job.paused_at is not None,
        "can_cancel": can_cancel and job.status in JOB_OPEN,
        "created_at": job.submitted_at,
    }


def job_tiles(job: Job, actor: Actor) -> list[dict[str, Any]]:
    """One tile per picture of the job as it stands; pictures in the trash have none."""
    made, can_cancel = outputs_of(job), actor.can(Permission.JOB_CANCEL)
    tiles = []
    for index in range(job.count):
        output = made.get(index)
        if output is None:
            tiles.append(_unmade_tile(job, index, can_cancel=can_cancel))
        elif output.trashed_at is None:
            tiles.append(output_tile(output))
    return tiles


def gallery_context(
    workspace: Workspace, *, before: str | None, is_trash: bool, filters: Filters = EVERYTHING
) -> dict[str, Any]:
    """A page of the gallery or of the trash."""
    outputs, next_before = gallery_page(
        workspace, before=before, is_trash=is_trash, filters=filters
    )
    address, project = reverse("gallery", args=[workspace.pk]), filters.project
    where = {"before": next_before, "trash": "1" if is_trash else ""}
    where["project"] = project.pk if project else ""
    query = urlencode({name: value for name, value in where.items() if value})
    is_search = bool(filters.query.strip())
    following = address if is_search else f"{address}?{query}"
    return {
        "tiles": [output_tile(output) for output in outputs],
        "next_url": following if next_before else None,
        # Words of prompts are posted, not put into an address.
        "next_values": json.dumps({**where, "q": filters.query}) if is_search else None,
        "is_trash": is_trash,
        "is_search": is_search,
        "total": count_outputs(workspace, is_trash=is_trash, filters=filters),
        "trash_total": count_outputs(workspace, is_trash=True, filters=filters),
    }


def project_choices(workspace: Workspace) -> list[dict[str, Any]]:
    """Open projects of the workspace by name."""
    return sorted(
        (project_row(project) for project in projects_of(workspace)),
        key=lambda row: row["name"].casefold(),
    )


def project_row(project: Project) -> dict[str, Any]:
    """A project for pages."""
    return {
        "id": project.pk,
        "name": project_name(project),
        "color": project.color,
        "is_archived": project.archived_at is not None,
        "pictures": getattr(project, "pictures", 0),
        "change_url": reverse("project-change", args=[project.workspace_id, project.pk]),
        "share_url": reverse("share-new", args=[project.workspace_id]) + f"?project={project.pk}",
    }


def _model(version: ModelVersion, warm: set[str]) -> dict[str, Any]:
    return {
        "digest": version.digest,
        "name": version.asset.name,
        "architecture": version.architecture,
        "licence": version.asset.licence,
        "is_warm": version.digest in warm,
        "default_width": version.default_width,
        "default_height": version.default_height,
        "presets": [preset_choice(preset) for preset in usable_presets(version.asset.presets)],
    }


def _sizes(side: int) -> list[dict[str, Any]]:
    wide, tall = side * 3 // 2 // 8 * 8, side * 3 // 4 // 8 * 8
    return [
        {"width": side, "height": side, "label": "Square"},
        {"width": wide, "height": side, "label": "Landscape"},
        {"width": side, "height": wide, "label": "Portrait"},
        {"width": wide, "height": tall, "label": "Wide"},
    ]


def _form(versions: list[ModelVersion]) -> dict[str, Any]:
    """What a new visitor finds: the first model at its size, and its first preset."""
    first = versions[0] if versions else None
    defaults = Recipe(model=first.digest if first else "", prompt="")
    side = first.default_width if first else defaults.width
    presets = usable_presets(first.asset.presets) if first else []
    return {
        **asdict(defaults),
        "width": side,
        "height": first.default_height if first else defaults.height,
        "seed": "",
        "sampler": default_sampler(Architecture(first.architecture)) if first else DEFAULT_SAMPLER,
        **(presets[0]["recipe"] if presets else {}),
    }


def room_urls(workspace: Workspace) -> dict[str, str]:
    """Addresses that the room's scripts use."""
    gallery = reverse("gallery", args=[workspace.pk])
    return {
        "submit": reverse("job-submit", args=[workspace.pk]),
        "queue": reverse("queue", args=[workspace.pk]),
        "gallery": gallery,
        "trash": f"{gallery}?trash=1",
        "forecast": reverse("forecast", args=[workspace.pk]),
        "draw_map": reverse("draw-map", args=[workspace.pk]),
        "alternatives": reverse("alternatives", args=[workspace.pk]),
        "wildcards": reverse("wildcards", args=[workspace.pk]),
        "grids": reverse("grids", args=[workspace.pk]),
        "grid_new": reverse("grid-new", args=[workspace.pk]),
        "grid_count": reverse("grid-count", args=[workspace.pk]),
        "upload": reverse("upload", args=[workspace.pk]),
        "projects": reverse("projects", args=[workspace.pk]),
        "shares": reverse("shares", args=[workspace.pk]),
        "share_new": reverse("share-new", args=[workspace.pk]),
        "upload_from_address": (
            reverse("upload-from-address", args=[workspace.pk]) if settings.FETCH_PORTS else ""
        ),
        "socket": f"/ws/w/{workspace.pk}/",
    }


def base_context(workspace: Workspace, actor: Actor, email: str) -> dict[str, Any]:
    """What every page of a workspace shows at its top."""
    connected, warm = count_agents()
    return {
        "workspace": workspace,
        "organization": workspace.organization,
        "user_email": email,
        "account_email": email,
        "agents": {"connected": connected, "warm": warm},
        "who_can_see": [reach.user.shown_name for reach in who_reaches(workspace)],
    }


def room_context(workspace: Workspace, actor: Actor, email: str) -> dict[str, Any]:
    """The whole room."""
    versions, warm = usable_versions(), warm_digests()
    adapters = adapter_choices(versions)
    side = versions[0].default_width if versions else 128
    prompts = [prompt for version in versions for prompt in version.asset.example_prompts]
    return {
        **base_context(workspace, actor, email),
        "urls": room_urls(workspace),
        "form": _form(versions),
        "models": [_model(version, warm) for version in versions],
        "adapters": with_settings(adapters),
        **finishing_choices(versions, adapters),
        "controls": control_choices(versions),
        "control_kinds": kind_choices(),
        "reference_models": reference_models(versions),
        "samplers": sampler_choices(),
        "sigmas": list(SIGMAS),
        "grid_axes": NAMES,
        "grid_parameters": list(PARAMETERS.items()),
        "upscalers": [
            {"digest": found.digest, "name": found.asset.name}
            for found in usable_versions(AssetKind.UPSCALER)
        ],
        "sizes": _sizes(side),
        "tiers": [{"id": t.value, "name": tier_name(t), "means": MEANINGS[t]} for t in TIERS],
        "example_prompts": prompts[:12],
        "limits": LIMITS,
        "scales": limits.SCALES if can_process(actor, AssetKind.UPSCALER) else (),
        "upscaler_choices": upscaler_choices(),
        "can_cut": can_process(actor, AssetKind.CUTTER),
        "extend_sides": [(side, side.capitalize()) for side in limits.SIDES],
        "gallery": gallery_context(workspace, before=None, is_trash=False),
        "projects": project_choices(workspace),
        "can_submit": actor.can(Permission.JOB_SUBMIT),
        "can_manage_projects": actor.can(Permission.PROJECT_MANAGE),
        "can_share": actor.can(Permission.SHARE_MANAGE),
        "queue": queue_context(workspace, actor),
    }


def _neighbours(output: Output) -> dict[str, str]:
    """The pictures before and after in the same shelf, newest first."""
    shelf = Output.objects.filter(
        workspace_id=output.workspace_id, trashed_at__isnull=output.trashed_at is None
    )
    newer = shelf.filter(id__gt=output.pk).order_by("id").values_list("pk", flat=True).first()
    older = shelf.filter(id__lt=output.pk).order_by("-id").values_list("pk", flat=True).first()

    def address(pk: str | None) -> str:
        return reverse("output", args=[output.workspace_id, pk]) if pk else ""

    return {"previous": address(newer), "next": address(older)}


def output_urls(output: Output) -> dict[str, str]:
    """What can be done with a picture."""
    names = (
        "rerun",
        "upscale",
        "cutout",
        "variations",
        "parameters",
        "start",
        "download",
        "trash",
        "restore",
    )
    arguments = [output.workspace_id, output.pk]
    urls = {name: reverse(f"output-{name}", args=arguments) for name in (*names, "project")}
    share = reverse("share-new", args=[output.workspace_id]) + f"?output={output.pk}"
    return {**urls, "share": share, **_neighbours(output)}


def verdict_context(output: Output) -> dict[str, str] | None:
    """The verdict on a re-run."""
    comparison = compare_with_original(output)
    if comparison is None:
        return None
    original = comparison.original
    return {
        "kind": comparison.verdict.value,
        "text": comparison.sentence,
        "original_url": reverse("output", args=[original.workspace_id, original.pk]),
    }


def output_context(output: Output, actor: Actor) -> dict[str, Any]:
    """The viewer of one picture."""
    manifest = open_manifest(output)
    recipe = open_recipe(output.job).only(output.index)
    picture = output.picture
    return {
        "output": {
            "id": output.pk,
            "picture_url": media_url(picture),
            "thumb_url": media_url(output.thumbnail),
            "width": picture.width,
            "height": picture.height,
            "seed": output.seed,
            "created_at": output.created_at,
            "is_trashed": output.trashed_at is not None,
            "is_starred": False,
            "size_bytes": picture.size_bytes,
            "media_type": picture.media_type,
            "is_see_through": is_see_through(output),
        },
        "is_outpaint": recipe.is_outpaint,
        "recipe": {**recipe.to_wire(), "sampler_label": SAMPLERS[recipe.sampler].label},
        "is_drawn": recipe.is_drawn,
        "undrawn": undrawn_name(recipe),
        "controls": control_facts(recipe, manifest),
        "scales": upscale_choices(output, actor),
        "upscaler_choices": upscaler_choices(),
        "can_cut": not recipe.cutout and can_process(actor, AssetKind.CUTTER),
        "manifest": manifest,
        "manifest_json": json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False),
        "verdict": verdict_context(output),
        "urls": output_urls(output),
        "author_email": output.job.created_by.email,
        "project": project_row(output.project) if output.project else None,
        "projects": project_choices(output.workspace),
        "can_manage_projects": actor.can(Permission.PROJECT_MANAGE),
        "can_share": actor.can(Permission.SHARE_MANAGE),
        "can_start": actor.can(Permission.UPLOAD_CREATE),
        "can_vary": actor.can(Permission.JOB_SUBMIT) and recipe.is_drawn,
        "refining_scales": refining_choices(output, recipe, actor),
        "tile_control": tile_control(output),
    }


def download_name(output: Output) -> str:
    """A file name that says nothing of the content."""
    made: datetime = output.created_at
    return f"studio-{made:%Y%m%d-%H%M%S}-{output.pk[-6:].lower()}-seed{output.seed}.png"
