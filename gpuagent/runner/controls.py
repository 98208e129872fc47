"""What works beside an attempt's model: which it is, and what ControlNets are given to follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from PIL import Image

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.canvas import Canvas
from gpuagent.pipelines.control import ControlNet, Guide, draw_map
from gpuagent.pipelines.encode import fit, open_picture
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.ip_adapter import Example, IPAdapter
from gpuagent.pipelines.large_maps import draw_large
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.mapper import Mapper
from gpuagent.pipelines.reference import Reference
from gpuagent.protocol.controls import ControlUse, mappers_of, role_of
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import ReferenceUse, ip_adapters_of, reference_role
from gpuagent.protocol.taxonomy import AssetKind
from gpuagent.runner.compute import Compute
from gpuagent.runner.models import Models
from gpuagent.runner.work import Work

# What guides the second, larger drawing: ready, or still to be given what is drawn again.
Following = Guide | Callable[[Image.Image], Guide]


def find_beside(recipe: Recipe, assignment: Assignment) -> tuple[ModelRef, ...]:
    """What works beside the model, each once: ControlNets, what makes their maps, IP-Adapters, a
    VAE, a refiner and an upscaler.

    Raises:
        AttemptFailedError: one was not handed out.
    """
    wanted = dict.fromkeys((use.model, AssetKind.CONTROLNET) for use in recipe.controls)
    wanted |= dict.fromkeys((each, AssetKind.MAPPER) for each in mappers_of(recipe.controls))
    for digest in ip_adapters_of(recipe.references):
        wanted[digest, AssetKind.IP_ADAPTER] = None
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
) -> tuple[Guide | Reference | Example, ...]:
    """The recipe's controls with their maps, their networks on the device, and its references.

    Raises:
        AttemptFailedError: a network or a picture cannot be read.
    """
    if work.plan is None or not work.recipe.denoising_steps:
        return ()
    nets = _nets(work, models)
    guides = []
    for number, use in enumerate(work.recipe.controls, 1):
        if not use.picture:
            continue  # it follows what is drawn again, later
        picture = open_picture(work.sources[role_of(number)])
        if canvas is not None:
            seen = canvas.view(picture)
        else:
            seen = fit(picture, work.recipe.width, work.recipe.height)
        drawn = _draw(use, nets, compute)(seen)
        guides.append(_guide(use, nets, compute, drawn))
    shown = (
        _see_reference(work, model, number, use, nets.get(use.model or ""), compute)
        for number, use in enumerate(work.recipe.references, 1)
    )
    return *guides, *shown


def make_guides_again(work: Work, models: Models, compute: Compute) -> tuple[Following, ...]:
    """The recipe's controls for its second drawing, with maps of that size.

    Raises:
        AttemptFailedError: a network or a picture cannot be read.
    """
    if work.plan is None or not work.recipe.is_hires:
        return ()
    nets = _nets(work, models)
    guides: list[Following] = []
    for number, use in enumerate(work.recipe.controls, 1):
        if not use.picture:
            guides.append(partial(Guide.of, use, _net(use, nets)))
            continue
        seen = fit(open_picture(work.sources[role_of(number)]), *work.recipe.result_size)
        drawn = seen if use.map else draw_large(use.kind, seen, _draw(use, nets, compute))
        guides.append(_guide(use, nets, compute, drawn))
    return tuple(guides)


def _nets(work: Work, models: Models) -> Mapping[str, LoadedModel]:
    """ControlNets, what makes their maps, and IP-Adapters, on the device."""
    kinds = (AssetKind.CONTROLNET, AssetKind.MAPPER, AssetKind.IP_ADAPTER)
    refs = [ref for ref in work.beside if ref.kind in kinds]
    return {ref.digest: models.beside(ref, work.plan) for ref in refs} if work.plan else {}


def _net(use: ControlUse, nets: Mapping[str, LoadedModel]) -> ControlNet:
    net = nets[use.model]
    if not isinstance(net, ControlNet):
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, digest=use.model[:16])
    return net


def _guide(
    use: ControlUse, nets: Mapping[str, LoadedModel], compute: Compute, drawn: Image.Image
) -> Guide:
    return compute.run(partial(Guide.of, use, _net(use, nets), drawn))


def _draw(
    use: ControlUse, nets: Mapping[str, LoadedModel], compute: Compute
) -> Callable[[Image.Image], Image.Image]:
    """What makes the map of a picture: a network, or pixels alone.

    Raises:
        AttemptFailedError: the network makes other maps.
    """
    if not use.needs_mapper:
        return partial(draw_map, use)
    mapper = nets.get(use.mapper or "")
    if not isinstance(mapper, Mapper) or mapper.kind is not use.kind:
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, digest=(use.mapper or "")[:16])
    return lambda picture: Image.fromarray(compute.run(partial(mapper.make, picture)))


def _see_reference(
    work: Work,
    model: Family,
    number: int,
    use: ReferenceUse,
    adapter: object,
    compute: Compute,
) -> Reference | Example:
    """A reference as its IP-Adapter sees it, or the model itself, at the size it works at.

    Raises:
        AttemptFailedError: the picture cannot be read, or the IP-Adapter is none.
    """
    picture = open_picture(work.sources[reference_role(number)])
    if use.model is not None:
        if not isinstance(adapter, IPAdapter):
            raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, digest=use.model[:16])
        return compute.run(lambda: Example.of(use, adapter, picture))
    fitted = fit(picture, work.recipe.width, work.recipe.height)
    return Reference.of(use, compute.run(partial(model.look_at, fitted)))
