"""What works beside an attempt's model: which it is, and what ControlNets are given to follow."""

from __future__ import annotations

from functools import partial

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.canvas import Canvas
from gpuagent.pipelines.control import ControlNet, Guide, draw_map
from gpuagent.pipelines.encode import fit, open_picture
from gpuagent.pipelines.family import Family
from gpuagent.pipelines.ip_adapter import Example, IPAdapter
from gpuagent.pipelines.reference import Reference
from gpuagent.protocol.controls import ControlUse, role_of
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment, ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import ReferenceUse, ip_adapters_of, reference_role
from gpuagent.protocol.taxonomy import AssetKind
from gpuagent.runner.compute import Compute
from gpuagent.runner.models import Models
from gpuagent.runner.work import Work


def find_beside(recipe: Recipe, assignment: Assignment) -> tuple[ModelRef, ...]:
    """ControlNets, IP-Adapters, a VAE, a refiner and an upscaler beside the model, each once.

    Raises:
        AttemptFailedError: one was not handed out.
    """
    wanted = dict.fromkeys((use.model, AssetKind.CONTROLNET) for use in recipe.controls)
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
    if work.plan is None:
        return ()
    kinds = (AssetKind.CONTROLNET, AssetKind.IP_ADAPTER)
    refs = [ref for ref in work.beside if ref.kind in kinds]
    nets = {ref.digest: models.beside(ref, work.plan) for ref in refs}
    guides = (
        _guide(work, number, use, nets[use.model], compute, canvas)
        for number, use in enumerate(work.recipe.controls, 1)
    )
    seen = (
        _see_reference(work, model, number, use, nets.get(use.model or ""), compute)
        for number, use in enumerate(work.recipe.references, 1)
    )
    return *guides, *seen


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


def _guide(
    work: Work,
    number: int,
    use: ControlUse,
    net: object,
    compute: Compute,
    canvas: Canvas | None,
) -> Guide:
    if not isinstance(net, ControlNet):
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, digest=use.model[:16])
    picture = open_picture(work.sources[role_of(number)])
    if canvas is not None:
        seen = canvas.view(picture)
    else:
        seen = fit(picture, work.recipe.width, work.recipe.height)
    drawn = draw_map(use, seen)
    return compute.run(lambda: Guide.of(use, net, drawn))
