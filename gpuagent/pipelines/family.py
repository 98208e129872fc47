"""What families of models share. A family is one file beside this: its parts, how it reads a
prompt, and the pipelines of diffusers that draw with them.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import override

from gpuagent.cache.writing import write_atomically
from gpuagent.pipelines.adapters import Laying, Stack
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.guidance import GuidanceCutOff
from gpuagent.pipelines.inpaint import INPAINTING_CHANNELS, LatentMask, latent_values, mask_pixels
from gpuagent.pipelines.loaded import VAE, LoadedModel
from gpuagent.pipelines.placing import Placed, SplitGuidance
from gpuagent.pipelines.preview import Floats, LatentColors, fit_latent_colors
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.samplers import Foreseer, make_scheduler, with_sigmas
from gpuagent.pipelines.steps import StepCallback, Watch
from gpuagent.pipelines.tiling import TiledDenoiser
from gpuagent.pipelines.variations import mixed_noise
from gpuagent.planning.plan import Measure
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER

if TYPE_CHECKING:
    import torch
    from PIL import Image

CPU_WARM_UP_SIDE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPicture:
    """A picture taken into latent space: each picture made from it samples this once.

    With a mask, only what it covers is made anew.
    """

    posterior: Any
    mask: LatentMask | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """In the place of what an encoder thinks likely: latents that are known."""

    latents: Any

    def sample(self, generator: object = None) -> Any:  # noqa: ANN401 - a tensor
        """They themselves: nothing is drawn."""
        del generator
        return self.latents

    def mode(self) -> Any:  # noqa: ANN401 - a tensor
        """The same."""
        return self.latents


class Family(LoadedModel):
    """A model version that draws.

    `DENOISER` names the part that the steps go through, `SAMPLER` one that every model of the
    family can use.
    """

    DENOISER: ClassVar[str] = "unet"
    SAMPLER: ClassVar[str] = DEFAULT_SAMPLER

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        *,
        notes: Path | None = None,
        is_half: bool = False,
    ) -> None:
        self._engine = engine
        self.is_half = is_half
        modules = {name: ready(module) for name, module in self._load(folder).items()}
        self._denoiser, self._vae = modules[self.DENOISER], modules[VAE]
        self._guidance = SplitGuidance(self._denoiser)
        self._cut_off = GuidanceCutOff(self._denoiser)
        self.tiles = TiledDenoiser(self._denoiser, self._scale)
        self._laying = Laying(
            engine.device, {name: each for name, each in modules.items() if name != VAE}
        )
        super().__init__({name: Placed(each, engine.device) for name, each in modules.items()})
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        self._scheduler_config: dict[str, object] = dict(config)
        self._pipelines: dict[str, Any] = {}
        self.colors = self._latent_colors(notes)

    @abstractmethod
    def _load(self, folder: Path) -> Mapping[str, Any]:
        """The parts by their names, as loaded by classes that are named in the family's file."""

    @abstractmethod
    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        """The embeddings shared by all pictures of a recipe."""

    @abstractmethod
    def _pipeline_class(self, mode: str) -> Any:  # noqa: ANN401 - diffusers has no types
        """Of diffusers, for `txt2img`, `img2img` or `inpaint`."""

    @abstractmethod
    def _components(self) -> Mapping[str, Any]:
        """What such a pipeline is built of, but VAE, denoiser and scheduler."""

    def _prompt_arguments(self, embeddings: Embeddings) -> dict[str, object]:
        """What the pipeline is told of the prompts."""
        return {
            "prompt_embeds": embeddings.prompt,
            "negative_prompt_embeds": embeddings.negative,
        }

    def _make_scheduler(self, sampler_id: str) -> Any:  # noqa: ANN401 - as above
        return make_scheduler(sampler_id, self._scheduler_config)

    @property
    def native_side(self) -> int:
        """The side in pixels the model was made for."""
        return int(self._denoiser.config.sample_size) * self._scale

    @property
    def _scale(self) -> int:
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @override
    def bring(self, measures: frozenset[Measure] = frozenset()) -> None:
        self._guidance.is_split = Measure.SPLIT_GUIDANCE in measures
        self._vae.use_tiling = Measure.VAE_TILES in measures
        super().bring(measures)

    @override
    @contextmanager
    def laid(self, stack: Stack) -> Iterator[None]:
        with self._laying.laid(stack):
            yield

    def take_in(self, picture: Image.Image, mask: Floats | None = None) -> StartingPicture:
        """Take a starting picture (and a mask, 0 to 1) of the right size into latent space."""
        import torch
        from diffusers.image_processor import VaeImageProcessor

        tensor = VaeImageProcessor(vae_scale_factor=self._scale).preprocess(picture)
        with self._here(VAE), torch.inference_mode():
            tensor = tensor.to(device=self._engine.device, dtype=self._vae.dtype)
            posterior = self._vae.encode(tensor).latent_dist
            if mask is None and not self._is_for_inpainting:
                return StartingPicture(posterior=posterior)
            if mask is None:
                mask = np.ones((picture.height, picture.width), dtype=np.float32)
            return StartingPicture(posterior=posterior, mask=self._take_in_mask(tensor, mask))

    def _take_in_mask(self, picture: torch.Tensor, mask: Floats) -> LatentMask:
        import torch

        values = torch.from_numpy(latent_values(mask, self._scale))[None, None]
        values = values.to(device=self._engine.device, dtype=self._denoiser.dtype)
        if not self._is_for_inpainting:
            return LatentMask(values=values)
        changing = mask_pixels((values > 0).to(picture.dtype), self._scale)
        kept = self._vae.encode(picture * (1 - changing)).latent_dist.mode()
        return LatentMask(values=values, kept=self._scaled(kept))

    @property
    def _is_for_inpainting(self) -> bool:
        """Whether the denoiser wants to be told what is kept. Without a mask, that is nothing."""
        return int(self._denoiser.config.in_channels) == INPAINTING_CHANNELS

    def denoise(
        self,
        recipe: Recipe,
        index: int,
        embeddings: Embeddings,
        *,
        start: StartingPicture | None = None,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """The finished latents of picture `index`. Same arguments, same numbers.

        Raises:
            Exception: whatever `watch.check` raises, within one step.
        """
        import torch

        # A CPU generator draws the same noise on every device.
        generator = torch.Generator("cpu").manual_seed(recipe.seed_of(index))
        scheduler = self._make_scheduler(recipe.sampler)
        if start is None and self._is_for_inpainting:
            start = self._nothing(recipe)
        mask = start.mask if start is not None else None
        scheduler = with_sigmas(scheduler, recipe.sigmas)
        made_step = StepCallback(
            recipe,
            Foreseer(scheduler),
            watch or Watch(),
            mask,
            is_told_the_mask=self._is_for_inpainting,
            unpack=lambda latents: self._unpacked(latents, recipe),
        )
        with self._here(self.DENOISER), torch.inference_mode():
            size = self._size_arguments(recipe, start, generator)
            mode = "txt2img" if start is None else "img2img" if mask is None else "inpaint"
            pipeline = self._pipeline(mode, scheduler)
            noise = mixed_noise(pipeline, recipe, index)
            with self._cut_off.during(recipe, made_step) as callback, noise:
                latents: torch.Tensor = pipeline(
                    **self._prompt_arguments(embeddings),
                    num_inference_steps=recipe.num_inference_steps,
                    guidance_scale=recipe.guidance_scale,
                    generator=generator,
                    # Latents, because a pipeline that is told to stop still decodes.
                    output_type="latent",
                    callback_on_step_end=callback,
                    **size,
                ).images
        return self._unpacked(latents, recipe)

    def known(self, latents: torch.Tensor) -> StartingPicture:
        """A starting picture of these latents, as `denoise` gives them."""
        latents = latents / self._vae.config.scaling_factor
        if (shift := self._vae.config.get("shift_factor")) is not None:
            latents = latents + shift
        return StartingPicture(posterior=Known(latents))

    def decode(self, latents: torch.Tensor) -> Pixels:
        """Latents of one picture to pixels (height, width, 3)."""
        import torch

        with self._here(VAE), torch.inference_mode():
            scaled = latents.to(self._vae.dtype) / self._vae.config.scaling_factor
            if (shift := self._vae.config.get("shift_factor")) is not None:
                scaled = scaled + shift
            image = self._vae.decode(scaled, return_dict=False)[0]
            image = (image * 0.5 + 0.5).clamp(0, 1)
            array: Floats = image[0].permute(1, 2, 0).float().cpu().numpy()
        return (array * 255).round().astype(np.uint8)

    @override
    def warm_up(self, watch: Watch | None = None) -> None:
        side = self.native_side
        if self._engine.device == "cpu":
            side = min(side, CPU_WARM_UP_SIDE)
        recipe = Recipe(
            model="",
            prompt="warm-up",
            width=side,
            height=side,
            num_inference_steps=2,
            seed=1,
            sampler=self.SAMPLER,
        )
        embeddings = self.encode_prompts(recipe)
        self.decode(self.denoise(recipe, 0, embeddings, watch=watch))

    def _unpacked(self, latents: torch.Tensor, recipe: Recipe) -> torch.Tensor:
        """Latents as the VAE has them (1, channels, height, width), of what a pipeline has."""
        del recipe
        return latents

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        """What the VAE gives, as the denoiser knows it."""
        if (shift := self._vae.config.get("shift_factor")) is not None:
            latents = latents - shift
        scaled: torch.Tensor = latents * self._vae.config.scaling_factor
        return scaled

    def _size_arguments(
        self, recipe: Recipe, start: StartingPicture | None, generator: torch.Generator
    ) -> dict[str, object]:
        if start is None:
            return {"width": recipe.width, "height": recipe.height}
        if self._is_for_inpainting and recipe.denoising_steps == recipe.num_inference_steps:
            latents = start.posterior.mode()  # never looked at, so nothing is drawn for it
        else:
            latents = start.posterior.sample(generator)
        latents = self._scaled(latents)
        arguments: dict[str, object] = {
            "image": latents.to(self._denoiser.dtype),
            "strength": self._strength_for(recipe.num_inference_steps, recipe.denoising_steps),
        }
        if start.mask is None:
            return arguments
        kept = start.mask.kept
        first = start.mask.at(1 / recipe.denoising_steps if kept is None else 1)
        return {
            **arguments,
            "width": recipe.width,
            "height": recipe.height,
            "mask_image": mask_pixels(first, self._scale),
            # A denoiser that is not made for inpainting never sees them.
            "masked_image_latents": (latents if kept is None else kept).to(self._denoiser.dtype),
        }

    def _strength_for(self, steps: int, denoising_steps: int) -> float:
        """A strength of which the pipeline's `int(steps * strength)` is just `denoising_steps`."""
        return min(1.0, (denoising_steps + 0.5) / steps)

    def _nothing(self, recipe: Recipe) -> StartingPicture:
        """What a denoiser for inpainting starts from when there is no picture."""
        from PIL import Image

        return self.take_in(Image.new("RGB", (recipe.width, recipe.height), "gray"))

    def _pipeline(self, mode: str, scheduler: Any) -> Any:  # noqa: ANN401 - as above
        """A thin pipeline over the shared parts, with this picture's scheduler.

        Built from the parts, since `from_pipe` would cast them to float32.
        """
        pipeline = self._pipelines.get(mode)
        if pipeline is None:
            pipeline = self._pipeline_class(mode)(
                **{VAE: self._vae, self.DENOISER: self._denoiser},
                scheduler=self._make_scheduler(self.SAMPLER),
                **self._components(),
            )
            pipeline.set_progress_bar_config(disable=True)
            self._pipelines[mode] = pipeline
        pipeline.scheduler = scheduler
        return pipeline

    def _latent_colors(self, notes: Path | None) -> LatentColors:
        if notes is not None:
            try:
                return LatentColors.from_json(notes.read_bytes())
            except (OSError, ValueError):
                pass  # not fitted yet, or another version's note
        colors = fit_latent_colors(self._to_latents, self._to_colors)
        if notes is not None:
            write_atomically(notes, colors.to_json())
        return colors

    def _to_latents(self, colors: Floats) -> Floats:
        import torch

        latents = []
        with self._here(VAE), torch.inference_mode():
            for picture in colors:
                tensor = torch.from_numpy(picture[None] * 2 - 1)
                tensor = tensor.to(device=self._engine.device, dtype=self._vae.dtype)
                encoded = self._scaled(self._vae.encode(tensor).latent_dist.mode())
                latents.append(encoded.float().cpu().numpy())
        return np.concatenate(latents)

    def _to_colors(self, latents: Floats) -> Floats:
        import torch

        pictures = [
            self.decode(torch.from_numpy(latent[None]).to(self._engine.device))
            for latent in latents
        ]
        return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def ready(module: Any) -> Any:  # noqa: ANN401 - no types
    """For drawing, not for training."""
    return module.eval().requires_grad_(False)
