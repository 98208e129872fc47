"""Shape of a recipe in the API, for its documentation. Checking is `parse_recipe`'s work."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from gpuagent.protocol.controls import THRESHOLD_MAX, THRESHOLD_MIN
from gpuagent.protocol.cutouts import EDGE_MAX, CutoutResult
from gpuagent.protocol.parts import REFINER_START_MAX, REFINER_START_MIN
from gpuagent.protocol.recipe import SCALES
from gpuagent.protocol.taxonomy import MAPPED, SAMPLERS, ControlKind, InpaintArea, ReferenceKind
from gpuagent.protocol.tuning import SIGMAS
from jobs.scheduling import Tier
from jobs.services.batches import Choosing

CONTROL_KINDS = [kind.value for kind in ControlKind]
NETWORK_MAP_KINDS = sorted({kind.value for kind in MAPPED.values()})
REFERENCE_KINDS = [kind.value for kind in ReferenceKind]
_EXTENDS = "Pixels to add at this side, a multiple of 8; width and height are the result's."


class LoraUseSerializer(serializers.Serializer[Any]):
    """A LoRA, and how much of it."""

    digest = serializers.CharField(help_text="From `GET adapters`.")
    weight = serializers.FloatField(required=False, min_value=-2, max_value=2)


class ControlUseSerializer(serializers.Serializer[Any]):
    """A ControlNet, and what it follows: one of `image` and `map`."""

    kind = serializers.ChoiceField(choices=CONTROL_KINDS)
    model = serializers.CharField(help_text="From `GET controls`.")
    image = serializers.CharField(
        required=False, help_text="`sha256` from `POST uploads`; its map is made."
    )
    map = serializers.CharField(
        required=False, help_text="`sha256` from `POST uploads` or `POST maps`: a ready map."
    )
    mapper = serializers.CharField(
        required=False,
        help_text="Of `depth` and `openpose`: what makes the map, by its digest; the first.",
    )
    weight = serializers.FloatField(required=False, min_value=0, max_value=2)
    start = serializers.FloatField(
        required=False, min_value=0, max_value=1, help_text="Share of the steps it begins at."
    )
    end = serializers.FloatField(required=False, min_value=0, max_value=1)
    low = serializers.IntegerField(
        required=False,
        min_value=THRESHOLD_MIN,
        max_value=THRESHOLD_MAX,
        help_text="Of Canny's maps: hundredths of the step from black to white.",
    )
    high = serializers.IntegerField(
        required=False, min_value=THRESHOLD_MIN, max_value=THRESHOLD_MAX
    )


class ReferenceUseSerializer(serializers.Serializer[Any]):
    """A picture that what is drawn takes after."""

    kind = serializers.ChoiceField(required=False, choices=REFERENCE_KINDS)
    model = serializers.CharField(
        required=False, help_text="Of kind `ip_adapter`: its digest from `GET adapters`."
    )
    image = serializers.CharField(help_text="`sha256` from `POST uploads`.")
    weight = serializers.FloatField(required=False, min_value=0, max_value=2)
    start = serializers.FloatField(required=False, min_value=0, max_value=1)
    end = serializers.FloatField(required=False, min_value=0, max_value=1)


class JobRequestSerializer(serializers.Serializer[Any]):
    """What `POST jobs` takes. Everything but the prompt has a default."""

    workspace = serializers.CharField(
        required=False, help_text="Default: the first workspace of the token's organization."
    )
    project = serializers.CharField(
        required=False, allow_null=True, help_text="What is made goes into this project."
    )
    tier = serializers.ChoiceField(
        required=False,
        choices=[tier.value for tier in Tier],
        help_text="How soon; `fast` if left out. `background` is for programs that can wait.",
    )
    alternatives = serializers.ChoiceField(
        required=False,
        choices=[choosing.value for choosing in Choosing],
        help_text="How `{red|blue}` and `__wildcards__` are chosen from; `draw` if left out.",
    )
    prompt = serializers.CharField(max_length=4_000)
    negative_prompt = serializers.CharField(required=False, allow_blank=True)
    model = serializers.CharField(required=False, help_text="Digest from `GET models`.")
    num_inference_steps = serializers.IntegerField(required=False, min_value=1, max_value=150)
    guidance_scale = serializers.FloatField(required=False, min_value=0, max_value=30)
    width = serializers.IntegerField(required=False, help_text="A multiple of 8.")
    height = serializers.IntegerField(required=False, help_text="A multiple of 8.")
    seed = serializers.IntegerField(required=False, help_text="Random if left out.")
    sampler = serializers.ChoiceField(required=False, choices=list(SAMPLERS))
    num_images_per_prompt = serializers.IntegerField(required=False, min_value=1, max_value=16)
    clip_skip = serializers.IntegerField(required=False, min_value=0, max_value=12)
    image = serializers.CharField(required=False, help_text="`sha256` from `POST uploads`.")
    strength = serializers.FloatField(
        required=False,
        min_value=0.05,
        max_value=1,
        help_text="0.7 if left out; 1 with a mask or where the picture is extended.",
    )
    mask = serializers.CharField(
        required=False,
        help_text="`sha256` (or `mask`) from `POST uploads`: white is changed, black is kept.",
    )
    mask_blur = serializers.IntegerField(
        required=False, min_value=0, max_value=64, help_text="Pixels of the soft edge."
    )
    inpaint_area = serializers.ChoiceField(
        required=False,
        choices=[area.value for area in InpaintArea],
        help_text="`masked`: width and height are spent on the masked area alone.",
    )
    mask_padding = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=512,
        help_text="Pixels around the masked area that the model sees, too.",
    )
    outpaint_left = serializers.IntegerField(
        required=False, min_value=0, max_value=2048, help_text=_EXTENDS
    )
    outpaint_top = serializers.IntegerField(
        required=False, min_value=0, max_value=2048, help_text=_EXTENDS
    )
    outpaint_right = serializers.IntegerField(
        required=False, min_value=0, max_value=2048, help_text=_EXTENDS
    )
    outpaint_bottom = serializers.IntegerField(
        required=False, min_value=0, max_value=2048, help_text=_EXTENDS
    )
    loras = LoraUseSerializer(many=True, required=False, help_text="At most 8.")
    embeddings = serializers.ListField(
        required=False,
        child=serializers.CharField(),
        help_text="Digests; those that the prompts call by their trigger words if left out.",
    )
    controls = ControlUseSerializer(many=True, required=False, help_text="At most 3.")
    references = ReferenceUseSerializer(many=True, required=False, help_text="At most 3.")
    vae = serializers.CharField(
        required=False, allow_null=True, help_text="Digest from `GET adapters`; the model's own."
    )
    refiner = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="Digest from `GET models`: another `sdxl` model that makes the last steps.",
    )
    refiner_start = serializers.FloatField(
        required=False,
        min_value=REFINER_START_MIN,
        max_value=REFINER_START_MAX,
        help_text="Share of the steps after which it takes over.",
    )
    cutout = serializers.BooleanField(
        required=False,
        help_text="Take the background of `image` away and draw nothing: only `model` (one that "
        "does this, the first if left out), `prompt` (a note) and the next two count.",
    )
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
    map_kind = serializers.ChoiceField(
        required=False,
        allow_null=True,
        choices=NETWORK_MAP_KINDS,
        help_text="Make a map of `image` by a network and draw nothing: only `model` (a map maker, "
        "the first if left out), `width`, `height` and `prompt` (a note) count.",
    )
    sigmas = serializers.ChoiceField(
        required=False,
        choices=["default", *SIGMAS],
        help_text="How steps are spread over the noise; not every sampler lets it be chosen.",
    )
    guidance_end = serializers.FloatField(
        required=False, min_value=0.05, max_value=1, help_text="Share of the steps with guidance."
    )
    variation_seed = serializers.IntegerField(required=False, help_text="Random if left out.")
    variation_strength = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        help_text="How far the first noise is moved towards that of the variation seed.",
    )
    hires_scale = serializers.FloatField(
        required=False,
        help_text="Draw again so many times larger: 1.25 to 4. With `strength` 0 the starting "
        "picture stays as it is before that.",
    )
    hires_strength = serializers.FloatField(required=False, min_value=0.05, max_value=1)
    hires_steps = serializers.IntegerField(
        required=False, min_value=0, max_value=150, help_text="0: as many as before."
    )
    hires_upscaler = serializers.CharField(
        required=False, help_text="`lanczos`, `latent` or the digest of an upscaler."
    )
    hires_tile = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=2048,
        help_text="Side of the tiles, a multiple of 64; 0 is one piece. It suits the model if "
        "left out.",
    )
    scale = serializers.ChoiceField(
        required=False,
        choices=SCALES,
        help_text="Enlarge `image` by so much and draw nothing: only `model` (an upscaler, the "
        "first if left out) and `prompt` (a note to find it by) count besides.",
    )
