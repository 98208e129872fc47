"""Shapes of the API, for its documentation and its answers. Checking is `parse_recipe`'s work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from gpuagent.protocol.cutouts import EDGE_MAX, CutoutResult
from gpuagent.protocol.recipe import SCALES
from gpuagent.protocol.taxonomy import SAMPLERS, AssetKind
from jobs.explanations import Why, watch, why_of
from jobs.forecast import Forecast, Ground
from jobs.lifecycle import JobStatus
from jobs.messages import failure_sentence
from jobs.models import Job, Output
from jobs.recipes import open_manifest, open_recipe
from jobs.scheduling import Tier
from jobs.selectors import agent_names, outputs_of
from jobs.services.ordering import Move
from jobs.services.outputs import compare_with_original
from studio.core.urls import absolute
from workspaces.signing import media_url


class OutputSerializer(serializers.Serializer[Any]):
    """A finished picture. Addresses are signed and short-lived; ask again for fresh ones."""

    id = serializers.CharField()
    job = serializers.CharField()
    project = serializers.CharField(allow_null=True)
    index = serializers.IntegerField()
    seed = serializers.IntegerField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    sha256 = serializers.CharField()
    size_bytes = serializers.IntegerField()
    media_type = serializers.CharField()
    picture_url = serializers.URLField()
    thumbnail_url = serializers.URLField()
    created_at = serializers.DateTimeField()
    trashed_at = serializers.DateTimeField(allow_null=True)


class VerdictSerializer(serializers.Serializer[Any]):
    """How a picture made again compares with its original."""

    verdict = serializers.CharField()
    sentence = serializers.CharField()
    original = serializers.CharField()


class OutputDetailSerializer(OutputSerializer):
    """A picture with the manifest it can be made again from."""

    manifest = serializers.DictField()
    rerun = VerdictSerializer(allow_null=True)


class JobErrorSerializer(serializers.Serializer[Any]):
    """Why a job failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class WaitingSerializer(serializers.Serializer[Any]):
    """Why a job waits, as the dispatcher said within the last seconds."""

    code = serializers.CharField(help_text="Such as `queue.others_first`.")
    jobs_ahead = serializers.IntegerField()
    own_jobs_ahead = serializers.IntegerField()
    more_urgent = serializers.DictField(
        child=serializers.IntegerField(), help_text="Of the jobs ahead: how many of which tier."
    )
    starts_in_seconds = serializers.FloatField(allow_null=True)
    agent = serializers.CharField(allow_null=True, help_text="Where it would start first.")
    load_seconds = serializers.FloatField(help_text="To load its model there; 0: it is there.")
    data = serializers.DictField(help_text="Numbers that belong to the code.")  # type: ignore[assignment]  # a field of ours, not DRF's property


class JobSerializer(serializers.Serializer[Any]):
    """A job as it stands."""

    id = serializers.CharField()
    workspace = serializers.CharField()
    project = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=[status.value for status in JobStatus])
    tier = serializers.ChoiceField(choices=[tier.value for tier in Tier])
    gpu_seconds = serializers.FloatField(help_text="Estimated when it was asked for.")
    paused_at = serializers.DateTimeField(allow_null=True)
    waiting = WaitingSerializer(allow_null=True)
    recipe = serializers.DictField()
    submitted_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    cancel_requested = serializers.BooleanField()
    error = JobErrorSerializer(allow_null=True)
    outputs = OutputSerializer(many=True)


class RerunSerializer(serializers.Serializer[Any]):
    """Body of `POST outputs/{id}/rerun`."""

    tier = serializers.ChoiceField(
        required=False,
        choices=[tier.value for tier in Tier],
        help_text="That of the first job if left out.",
    )


class UpscaleSerializer(serializers.Serializer[Any]):
    """Body of `POST outputs/{id}/upscale`."""

    scale = serializers.ChoiceField(choices=SCALES, help_text="Sides become so many times longer.")
    model = serializers.CharField(
        required=False, help_text="Digest of an upscaler; the first if left out."
    )
    refine = serializers.FloatField(
        required=False,
        min_value=0.05,
        max_value=1,
        help_text="Draw it again at this strength, in tiles, with the model that made it.",
    )
    control = serializers.CharField(
        required=False,
        help_text="With refine: digest of a ControlNet for tiles, which keeps to the picture.",
    )
    tier = serializers.ChoiceField(required=False, choices=[tier.value for tier in Tier])


class CutoutSerializer(serializers.Serializer[Any]):
    """Body of `POST outputs/{id}/cutout`."""

    cutout_edge = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=EDGE_MAX,
        help_text="Pixels inside the object over which it fades.",
    )
    cutout_result = serializers.ChoiceField(
        required=False,
        choices=[result.value for result in CutoutResult],
        help_text="`mask`: where the objects are, white, instead of the objects themselves.",
    )
    model = serializers.CharField(
        required=False, help_text="Digest of a background remover; the first if left out."
    )
    tier = serializers.ChoiceField(required=False, choices=[tier.value for tier in Tier])


class MoveSerializer(serializers.Serializer[Any]):
    """Body of `POST jobs/{id}/move`: one of the three."""

    to = serializers.ChoiceField(required=False, choices=[move.value for move in Move])
    before = serializers.CharField(required=False, help_text="Id of a job of the same line.")
    after = serializers.CharField(required=False, help_text="Id of a job of the same line.")


class TierForecastSerializer(serializers.Serializer[Any]):
    """What choosing a tier would mean. Null: not known (yet)."""

    tier = serializers.ChoiceField(choices=[tier.value for tier in Tier])
    jobs_ahead = serializers.IntegerField(allow_null=True)
    own_jobs_ahead = serializers.IntegerField(allow_null=True)
    wait_p50_seconds = serializers.FloatField(allow_null=True)
    wait_p90_seconds = serializers.FloatField(allow_null=True)
    history = serializers.ChoiceField(choices=[ground.value for ground in Ground])
    runs = serializers.IntegerField(help_text="How many recent waits the history holds.")


class ForecastSerializer(serializers.Serializer[Any]):
    """Answer of `POST forecast`."""

    gpu_seconds = serializers.FloatField()
    agents = serializers.IntegerField(help_text="Agents that take work.")
    is_warm = serializers.BooleanField(help_text="Some agent holds the model.")
    load_seconds = serializers.FloatField(help_text="To load it where nobody holds it, else 0.")
    tiers = TierForecastSerializer(many=True)


class JobPageSerializer(serializers.Serializer[Any]):
    """A page of jobs, newest first; `next` is the `before` of the next page."""

    results = JobSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class OutputPageSerializer(serializers.Serializer[Any]):
    """A page of pictures, newest first; `next` is the `before` of the next page."""

    results = OutputSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class PresetRecipeSerializer(serializers.Serializer[Any]):
    """The settings that a preset names; all others are left as they are."""

    num_inference_steps = serializers.IntegerField(required=False)
    guidance_scale = serializers.FloatField(required=False)
    sampler = serializers.ChoiceField(required=False, choices=list(SAMPLERS))
    width = serializers.IntegerField(required=False)
    height = serializers.IntegerField(required=False)
    clip_skip = serializers.IntegerField(required=False)


class PresetSerializer(serializers.Serializer[Any]):
    """Settings that suit a model; `recipe` can be laid over the body of `POST jobs`."""

    name = serializers.CharField()
    recipe = PresetRecipeSerializer()


class ModelSerializer(serializers.Serializer[Any]):
    """A model that can be asked for by its digest."""

    id = serializers.CharField(help_text="Of its entry in the library: `GET models/{id}`.")
    digest = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in AssetKind])
    architecture = serializers.CharField()
    licence = serializers.CharField()
    default_width = serializers.IntegerField()
    default_height = serializers.IntegerField()
    is_warm = serializers.BooleanField()
    presets = PresetSerializer(many=True, help_text="The page's form starts with the first.")


class SamplerSerializer(serializers.Serializer[Any]):
    """A sampler that can be asked for by its id."""

    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field of ours, not DRF's option
    architectures = serializers.ListField(
        child=serializers.CharField(), help_text="Families of models that it works with."
    )


class UploadSerializer(serializers.Serializer[Any]):
    """A stored starting picture; `sha256` goes into a job's `image`."""

    id = serializers.CharField()
    sha256 = serializers.CharField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    mask = serializers.CharField(
        allow_null=True, help_text="`sha256` of a mask of the transparent parts; null without any."
    )


class AddressSerializer(serializers.Serializer[Any]):
    """Body of `POST uploads/from-address`."""

    url = serializers.CharField(help_text="Public http or https address of a picture.")
    workspace = serializers.CharField(
        required=False, help_text="Id of a workspace; the first one if left out."
    )


def output_json(output: Output) -> dict[str, Any]:
    """An output as JSON."""
    picture = output.picture
    return {
        "id": output.pk,
        "job": output.job_id,
        "project": output.project_id,
        "index": output.index,
        "seed": output.seed,
        "width": picture.width,
        "height": picture.height,
        "sha256": picture.sha256,
        "size_bytes": picture.size_bytes,
        "media_type": picture.media_type,
        "picture_url": absolute(media_url(picture)),
        "thumbnail_url": absolute(media_url(output.thumbnail)),
        "created_at": output.created_at,
        "trashed_at": output.trashed_at,
    }


def output_detail_json(output: Output) -> dict[str, Any]:
    """An output with its manifest and, for a re-run, the verdict."""
    comparison = compare_with_original(output)
    rerun = comparison and {
        "verdict": comparison.verdict.value,
        "sentence": comparison.sentence,
        "original": comparison.original.pk,
    }
    return {**output_json(output), "manifest": open_manifest(output), "rerun": rerun}


def waiting_json(why: Why) -> dict[str, Any]:
    """Why a job waits, as JSON."""
    return {
        "code": why.code,
        "jobs_ahead": why.jobs_ahead,
        "own_jobs_ahead": why.own_jobs_ahead,
        "more_urgent": dict(why.by_tier),
        "starts_in_seconds": why.starts_in,
        "agent": agent_names({why.agent}).get(why.agent) if why.agent else None,
        "load_seconds": why.load_seconds,
        "data": dict(why.data),
    }


def jobs_json(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Jobs of one workspace as JSON, with why they wait."""
    waiting = [job for job in jobs if job.status == JobStatus.QUEUED.value]
    whys: dict[str, Why] = {}
    for workspace_id in {job.workspace_id for job in waiting}:
        watch(workspace_id)
        whys |= why_of(workspace_id, [job.pk for job in waiting])
    return [job_json(job, whys.get(job.pk)) for job in jobs]


def job_json(job: Job, why: Why | None = None) -> dict[str, Any]:
    """A job as JSON."""
    error = None
    if job.status == JobStatus.FAILED.value:
        sentence = failure_sentence(job.error_code, job.error_data)
        error = {"code": job.error_code, "message": sentence}
    outputs = outputs_of(job)
    return {
        "id": job.pk,
        "workspace": job.workspace_id,
        "project": job.project_id,
        "status": job.status,
        "tier": job.tier,
        "gpu_seconds": round(job.cost_seconds, 3),
        "paused_at": job.paused_at,
        "waiting": waiting_json(why) if why and job.paused_at is None else None,
        "recipe": open_recipe(job).to_wire(),
        "submitted_at": job.submitted_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "cancel_requested": job.cancel_requested_at is not None,
        "error": error,
        "outputs": [output_json(outputs[index]) for index in sorted(outputs)],
    }


def forecast_json(forecast: Forecast) -> dict[str, Any]:
    """A forecast as JSON."""
    return {
        "gpu_seconds": round(forecast.gpu_seconds, 3),
        "agents": forecast.agents,
        "is_warm": forecast.is_warm,
        "load_seconds": round(forecast.load_seconds, 1),
        "tiers": [
            {
                "tier": one.tier.value,
                "jobs_ahead": one.jobs_ahead,
                "own_jobs_ahead": one.own_jobs_ahead,
                "wait_p50_seconds": one.wait_p50_seconds,
                "wait_p90_seconds": one.wait_p90_seconds,
                "history": one.ground.value,
                "runs": one.runs,
            }
            for one in forecast.tiers
        ],
    }
