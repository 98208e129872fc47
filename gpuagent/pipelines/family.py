"""What families of models share. A family is one file beside this: its parts, how it reads a
prompt, and the pipelines of diffusers that draw with them.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.adapters import Laying, Stack
from gpuagent.pipelines.control import Guide, Steering
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.inpaint import INPAINTING_CHANNELS, LatentMask, latent_values, mask_pixels
from gpuagent.pipelines.inpaint import StartingPicture as StartingPicture
from gpuagent.pipelines.loaded import VAE, LoadedModel
from gpuagent.pipelines.placing import Placed, SplitGuidance
from gpuagent.pipelines.preview import Floats, noted_latent_colors
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.samplers import Foreseer, make_scheduler
from gpuagent.pipelines.steps import Share, StepCallback, Watch
from gpuagent.pipelines.vae import Autoencoder
from gpuagent.planning.plan import Measure
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from gpuagent.pipelines.batching import Member

CPU_WARM_UP_SIDE = 128
# What two VAEs must have alike, or the latents of one mean nothing to the other.
_SAME_LATENTS = ("latent_channels", "scaling_factor", "shift_factor")


class Family(LoadedModel):
    """A model version that draws.

    `DENOISER` names the part that the steps go through, `SAMPLER` one that every model of the
    family can use; a family is wide if its numbers do not fit into float16.
    """

    DENOISER: ClassVar[str] = "unet"
    SAMPLER: ClassVar[str] = DEFAULT_SAMPLER
    IS_WIDE: ClassVar[bool] = False

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
        self._dtype = engine.dtype(is_half=is_half, is_wide=self.IS_WIDE)
        modules = {name: ready(module) for name, module in self._load(folder).items()}
        self._denoiser, self._vae = modules[self.DENOISER], modules[VAE]
        self._guidance = SplitGuidance(self._denoiser)
        self._steering = Steering(self._denoiser, self._guidance)
        self._laying = Laying(
            engine.device, {name: each for name, each in modules.items() if name != VAE}
        )
        super().__init__({name: Placed(each, engine.device) for name, each in modules.items()})
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        self._scheduler_config: dict[str, object] = dict(config)
        self._pipelines: dict[str, Any] = {}
        self.colors = noted_latent_colors(notes, self._to_latents, self._to_colors)

    @abstractmethod
    def _load(self, folder: Path) -> Mapping[str, Any]:
        """The parts by their names, as loaded by classes that are named in the family's file."""

    def _load_part(self, loader: Any, folder: Path) -> Any:  # noqa: ANN401 - as above
        """A part by a class of diffusers or transformers, in the model's precision."""
        dtype = self._dtype
        if folder.name == VAE:
            dtype = self._engine.vae_dtype(is_half=self.is_half)
        # transformers has another name for it.
        word = "torch_dtype" if loader.__module__.startswith("diffusers") else "dtype"
        return loader.from_pretrained(
            folder, **{word: dtype}, local_files_only=True, use_safetensors=True
        )

    @abstractmethod
    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        """The embeddings shared by all pictures of a recipe."""

    @abstractmethod
    def _pipeline_class(self, mode: str) -> Any:  # noqa: ANN401 - diffusers has no types
        """Of diffusers, for `txt2img`, `img2img` or `inpaint`."""

    @abstractmethod
    def _components(self, mode: str) -> Mapping[str, Any]:
        """What such a pipeline is built of, but VAE, denoiser and scheduler."""

    def _prompt_arguments(self, embeddings: Embeddings) -> dict[str, object]:
        """What the pipeline is told of the prompts."""
        return {
            "prompt_embeds": embeddings.prompt,
            "negative_prompt_embeds": embeddings.negative,
        }

    def _make_scheduler(self, sampler_id: str, generator: torch.Generator) -> Any:  # noqa: ANN401 - as above
        """A fresh one; what it draws itself, it draws by the generator."""
        del generator  # these pipelines hand it over with every step
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

    @contextmanager
    def guided(self, guides: Sequence[Guide]) -> Iterator[None]:
        """ControlNets guide what is drawn while this lasts.

        Raises:
            AttemptFailedError: one does not fit the model.
        """
        with self._steering.on(guides):
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
        until: float | None = None,
    ) -> torch.Tensor:
        """The finished latents of picture `index`. Same arguments, same numbers.

        With `until` only that share of the steps is made; somebody else makes the rest.

        Raises:
            Exception: whatever `watch.check` raises, within one step.
        """
        import torch

        # A CPU generator draws the same noise on every device.
        generator = torch.Generator("cpu").manual_seed(recipe.seed_of(index))
        scheduler = self._make_scheduler(recipe.sampler, generator)
        if start is None and self._is_for_inpainting:
            start = self._nothing(recipe)
        mask = start.mask if start is not None else None
        callback = StepCallback(
            recipe,
            Foreseer(scheduler),
            watch or Watch(),
            None if self._is_for_inpainting else mask,
            unpack=lambda latents: self._unpacked(latents, recipe),
            pack_mask=self._packed_mask,
            share=Share.ALL if until is None else Share.FIRST,
        )
        with self._here(self.DENOISER), torch.inference_mode():
            size = self._size_arguments(recipe, start, generator)
            mode = "txt2img" if start is None else "img2img" if mask is None else "inpaint"
            pipeline = self._pipeline(mode, scheduler)
            self._steering.begin(pipeline)
            latents: torch.Tensor = pipeline(
                **self._prompt_arguments(embeddings),
                num_inference_steps=recipe.num_inference_steps,
                guidance_scale=recipe.guidance_scale,
                generator=generator,
                # Latents, because a pipeline that is told to stop still decodes.
                output_type="latent",
                callback_on_step_end=callback,
                **size,
                **self._share_arguments(until),
            ).images
        return self._unpacked(latents, recipe)

    @property
    def can_batch(self) -> bool:
        """Whether pictures of several jobs can be denoised together."""
        return False

    def denoise_together(
        self, members: Sequence[Member], on_step: Callable[[], None] = lambda: None
    ) -> list[torch.Tensor | None]:
        """The finished latents of each, in one batch; None for those that left."""
        raise NotImplementedError

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

    def _share_arguments(self, until: float | None) -> dict[str, object]:
        """What the pipeline is told of where to end.

        Raises:
            AttemptFailedError: models of this family end alone.
        """
        if until is not None:
            raise AttemptFailedError(FailureCode.RECIPE_INVALID, field="refiner")
        return {}

    @contextmanager
    def decoding_by(self, vae: Autoencoder | None) -> Iterator[None]:
        """Another VAE takes the place of the model's while this lasts.

        Raises:
            AttemptFailedError: its latents are others.
        """
        if vae is None:
            yield
            return
        for name in _SAME_LATENTS:
            if self._vae.config.get(name) != vae.module.config.get(name):
                raise AttemptFailedError(FailureCode.ADAPTER_UNFIT, reason=name)
        own, placed = self._vae, self._parts[VAE]
        self._vae, self._parts[VAE] = vae.module, vae.placed
        try:
            yield
        finally:
            self._vae, self._parts[VAE] = own, placed

    def _unpacked(self, latents: torch.Tensor, recipe: Recipe) -> torch.Tensor:
        """Latents as the VAE has them (1, channels, height, width), of what a pipeline has."""
        del recipe
        return latents

    def _packed_mask(self, mask: torch.Tensor, pipeline: Any) -> torch.Tensor:  # noqa: ANN401 - as above
        """A mask of latents (1, 1, height, width) as the pipeline has it."""
        return mask.repeat(1 + pipeline.do_classifier_free_guidance, 1, 1, 1)

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
                scheduler=make_scheduler(DEFAULT_SAMPLER, self._scheduler_config),
                **self._components(mode),
            )
            pipeline.set_progress_bar_config(disable=True)
            self._pipelines[mode] = pipeline
        pipeline.scheduler = scheduler
        return pipeline

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
