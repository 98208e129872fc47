"""Parts of other models that finish an attempt's pictures: another VAE, a refiner, an upscaler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.family import Family, StartingPicture
from gpuagent.pipelines.loaded import LoadedModel
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.sdxl import StableDiffusionXL
from gpuagent.pipelines.steps import Watch
from gpuagent.pipelines.upscale import Upscaler
from gpuagent.pipelines.vae import Autoencoder
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.runner.models import Models
from gpuagent.runner.work import Work

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Refiner:
    """Another model that makes the rest of a picture's steps, and reads its prompts itself."""

    model: StableDiffusionXL
    embeddings: Embeddings

    def finish(
        self,
        recipe: Recipe,
        index: int,
        latents: torch.Tensor,
        start: StartingPicture | None,
        watch: Watch,
    ) -> torch.Tensor:
        """Latents after the first share of the steps to finished ones."""
        return self.model.refine(recipe, index, self.embeddings, latents, start=start, watch=watch)


@contextmanager
def using_vae(work: Work, models: Models, model: LoadedModel) -> Iterator[None]:
    """The recipe's own VAE takes the place of the model's while this lasts.

    Raises:
        AttemptFailedError: it is none, or none for this model.
    """
    found = _beside(work, models, work.recipe.vae)
    if found is None:
        yield
        return
    if not isinstance(found, Autoencoder) or not isinstance(model, Family):
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason="no VAE")
    with model.decoding_by(found):
        yield


def find_refiner(
    work: Work, models: Models, embed: Callable[[Family, str], Embeddings]
) -> Refiner | None:
    """What makes the rest of the steps; None if the recipe names no refiner.

    `embed` reads the recipe's prompts for a model, by its digest.

    Raises:
        AttemptFailedError: it is of another family.
    """
    recipe = work.recipe
    refiner = _beside(work, models, recipe.refiner)
    if refiner is None or recipe.refiner is None:
        return None
    if not isinstance(refiner, StableDiffusionXL):
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason="no refiner")
    return Refiner(refiner, embed(refiner, recipe.refiner))


def find_enlarger(work: Work, models: Models) -> Upscaler | None:
    """What enlarges between two drawings; None if the recipe names nothing.

    Raises:
        AttemptFailedError: it is no upscaler.
    """
    named = next(iter(work.recipe.enlargers), None)
    found = _beside(work, models, named)
    if named is not None and not isinstance(found, Upscaler):
        raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason="no upscaler")
    return found if isinstance(found, Upscaler) else None


def _beside(work: Work, models: Models, digest: str | None) -> LoadedModel | None:
    ref = next((ref for ref in work.beside if ref.digest == digest), None)
    if digest is None or ref is None or work.plan is None:
        return None
    return models.beside(ref, work.plan)
