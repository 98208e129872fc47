"""What works beside an attempt's model: which it is, and what ControlNets are given to follow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.canvas import Canvas
from gpuagent.pipelines.control import ControlNet, Guide, draw_map
from gpuagent.pipelines.encode import fit, open_picture
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.mapper import Mapper
from gpuagent.pipelines.reference import Reference
from gpuagent.protocol.controls import ControlUse, mappers_of, role_of
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import reference_role
from gpuagent.protocol.taxonomy import AssetKind
from gpuagent.runner.compute import Compute
from gpuagent.runner.models import Models
from gpuagent.runner.work import Work


def find_beside(recipe: Recipe, assignment: Assignment) -> tuple[ModelRef, ...]:
    """What works beside the model, each once: ControlNets, what makes their maps, a VAE, a refiner
    and an upscaler.

    Raises:
        AttemptFailedError: one was not handed out.
    """
    wanted = dict.fromkeys((use.model, AssetKind.CONTROLNET) for use in recipe.controls)
    wanted |= dict.fromkeys((each, AssetKind.MAPPER) for each in mappers_of(recipe.controls))
    if recipe.vae is not None:
        wanted[recipe.vae, AssetKind.VAE] = None
    if recipe.refiner is not None:
        wanted[recipe.refiner, AssetKind.CHECKPOINT] = None
    for digest in recipe.enlargers:
        wanted[digest, AssetKind.UPSCALER] = None
    given = {(ref.digest, ref.kind): ref for ref in assignment.adapters}
    missing = next((digest for digest, kind in wanted if (digest, kind) not in given), None)
    if missing is not None:
        raise AttemptFailedError(FailureCode.ADAPTER_MISSING, digest=missing[:16])
    return tuple(given[each] for each in wanted)


def make_guides(
    work: Work, model: Family, models: Models, compute: Compute, canvas: Canvas | None
) -> tuple[Guide | Reference, ...]:
    """The recipe's controls with their maps, their networks on the device, and its references.

    Raises:
        AttemptFailedError: a network or a picture cannot be read.
    """
    if work.plan is None:
        return ()
    kinds = {AssetKind.CONTROLNET, AssetKind.MAPPER}
    refs = [ref for ref in work.beside if ref.kind in kinds]
    nets = {ref.digest: models.beside(ref, work.plan) for ref in refs}
    guides = (
        _guide(work, number, use, nets, compute, canvas)
        for number, use in enumerate(work.recipe.controls, 1)
    )
    return *guides, *_see_references(work, model, compute)


def _see_references(work: Work, model: Family, compute: Compute) -> tuple[Reference, ...]:
    """The recipe's references as the model sees them, at the size it works at.

    Raises:
        AttemptFailedError: a picture cannot be read.
    """
    found = []
    for number, use in enumerate(work.recipe.references, 1):
        picture = open_picture(work.sources[reference_role(number)])
        fitted = fit(picture, work.recipe.width, work.recipe.height)
        latents = compute.run(partial(model.look_at, fitted))
        found.append(Reference.of(use, latents))
    return tuple(found)


def _guide(
    work: Work,
    number: int,
    use: ControlUse,
    nets: Mapping[str, LoadedModel],
    compute: Compute,
    canvas: Canvas | None,
) -> Guide:
    net = nets[use.model]
    if not isinstance(net, ControlNet):
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, digest=use.model[:16])
    picture = open_picture(work.sources[role_of(number)])
    if canvas is not None:
        seen = canvas.view(picture)
    else:
        seen = fit(picture, work.recipe.width, work.recipe.height)
    drawn = _network_map(use, seen, nets, compute) if use.needs_mapper else draw_map(use, seen)
    return compute.run(lambda: Guide.of(use, net, drawn))


def _network_map(
    use: ControlUse, seen: Image.Image, nets: Mapping[str, LoadedModel], compute: Compute
) -> Image.Image:
    """The map that a network makes of what the model works on."""
    mapper = nets.get(use.mapper or "")
    if not isinstance(mapper, Mapper) or mapper.kind is not use.kind:
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, digest=(use.mapper or "")[:16])
    return Image.fromarray(compute.run(lambda: mapper.make(seen)))
