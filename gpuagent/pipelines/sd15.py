"""Stable Diffusion 1.x: load the parts once, make pictures with thin pipelines over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuagent.cache.writing import write_atomically
from gpuagent.pipelines.adapters import Laying, Stack
from gpuagent.pipelines.batching import Member, denoise_batch
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.inpaint import INPAINTING_CHANNELS, LatentMask, latent_values, mask_pixels
from gpuagent.pipelines.placing import Placed, SplitGuidance
from gpuagent.pipelines.preview import Floats, LatentColors, fit_latent_colors
from gpuagent.pipelines.prompts import Embeddings, encode_prompts
from gpuagent.pipelines.samplers import Foreseer, make_scheduler
from gpuagent.pipelines.steps import Peek as Peek
from gpuagent.pipelines.steps import StepCallback
from gpuagent.pipelines.steps import Watch as Watch
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


class StableDiffusion15:
    """The parts of one model version: loaded into host memory, then brought to the device."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        *,
        notes: Path | None = None,
        is_half: bool = False,
    ) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        # The classes are named here and never read from the model's own files.
        local = {"local_files_only": True, "use_safetensors": True}
        self._engine = engine
        self.is_half = is_half
        dtype, vae_dtype = engine.dtype(is_half=is_half), engine.vae_dtype(is_half=is_half)
        self._tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        self._text_encoder = _ready(
            CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **local)
        )
        self._unet = _ready(
            UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **local)
        )
        self._vae = _ready(
            AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=vae_dtype, **local)
        )
        self._guidance = SplitGuidance(self._unet)
        self._laying = Laying(engine.device, unet=self._unet, text_encoder=self._text_encoder)
        self._parts = {
            "text_encoder": Placed(self._text_encoder, engine.device),
            "unet": Placed(self._unet, engine.device),
            "vae": Placed(self._vae, engine.device),
        }
        self._measures: frozenset[Measure] = frozenset()
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        self._scheduler_config: dict[str, object] = dict(config)
        self._pipelines: dict[str, Any] = {}
        self.colors = self._latent_colors(notes)

    @property
    def weights_bytes(self) -> int:
        """Memory of the weights as they are loaded."""
        return sum(self.part_bytes.values())

    @property
    def part_bytes(self) -> dict[str, int]:
        """The same, part by part."""
        return {name: part.size_bytes for name, part in self._parts.items()}

    @property
    def device_bytes(self) -> int:
        """Memory of the weights that are on the device all the time."""
        sizes = self.part_bytes.items()
        return sum(size for name, size in sizes if not self._comes_and_goes(name))

    def bring(self, measures: frozenset[Measure] = frozenset()) -> None:
        """Have on the device what is needed all the time, and work by these measures."""
        self._measures = measures
        self._guidance.is_split = Measure.SPLIT_GUIDANCE in measures
        self._vae.use_tiling = Measure.VAE_TILES in measures
        for name in self._parts:
            if self._comes_and_goes(name):
                self._parts[name].put_aside()
            else:
                self._parts[name].bring()

    def put_aside(self) -> None:
        """Leave the device; the weights stay in host memory."""
        for part in self._parts.values():
            part.put_aside()

    def keep_host_copy(self) -> bool:
        """Keep the weights in pinned host memory too; False if the host does not give it."""
        kept = all(part.keep_host_copy() for part in self._parts.values())
        if not kept:
            self.drop_host_copy()
        return kept

    def drop_host_copy(self) -> None:
        """Give the pinned memory back; what is on the device stays there."""
        for part in self._parts.values():
            part.drop_host_copy()

    def _comes_and_goes(self, name: str) -> bool:
        if Measure.PARTS_ASIDE in self._measures:
            return True
        return name == "text_encoder" and Measure.ENCODERS_ASIDE in self._measures

    @contextmanager
    def _here(self, name: str) -> Iterator[None]:
        """The part is on the device while this lasts, whatever the measures."""
        part = self._parts[name]
        part.bring()
        try:
            yield
        finally:
            if self._comes_and_goes(name):
                part.put_aside()

    @property
    def native_side(self) -> int:
        """The side in pixels the model was made for."""
        return int(self._unet.config.sample_size) * self._scale

    @property
    def _scale(self) -> int:
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @contextmanager
    def laid(self, stack: Stack) -> Iterator[None]:
        """Adapters lie over the model while this lasts; afterwards it is as it was.

        Raises:
            AttemptFailedError: one does not fit the model.
        """
        with self._laying.laid(stack):
            yield

    def encode_prompts(self, recipe: Recipe) -> Embeddings:
        """The embeddings shared by all pictures of a recipe."""
        import torch

        with self._here("text_encoder"), torch.inference_mode():
            words = self._laying.words
            return encode_prompts(self._tokenizer, self._text_encoder, recipe, words)

    def take_in(self, picture: Image.Image, mask: Floats | None = None) -> StartingPicture:
        """Take a starting picture (and a mask, 0 to 1) of the right size into latent space."""
        import torch
        from diffusers.image_processor import VaeImageProcessor

        tensor = VaeImageProcessor(vae_scale_factor=self._scale).preprocess(picture)
        with self._here("vae"), torch.inference_mode():
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
        values = values.to(device=self._engine.device, dtype=self._unet.dtype)
        if not self._is_for_inpainting:
            return LatentMask(values=values)
        changing = mask_pixels((values > 0).to(picture.dtype), self._scale)
        kept = self._vae.encode(picture * (1 - changing)).latent_dist.mode()
        return LatentMask(values=values, kept=kept * self._vae.config.scaling_factor)

    @property
    def _is_for_inpainting(self) -> bool:
        """Whether the U-Net wants to be told what is kept. Without a mask, that is nothing."""
        return int(self._unet.config.in_channels) == INPAINTING_CHANNELS

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
        scheduler = make_scheduler(recipe.sampler, self._scheduler_config)
        if start is None and self._is_for_inpainting:
            start = self._nothing(recipe)
        mask = start.mask if start is not None else None
        callback = StepCallback(recipe, Foreseer(scheduler), watch or Watch(), mask)
        with self._here("unet"), torch.inference_mode():
            size = self._size_arguments(recipe, start, generator)
            mode = "txt2img" if start is None else "img2img" if mask is None else "inpaint"
            pipeline = self._pipeline(mode, scheduler)
            latents: torch.Tensor = pipeline(
                prompt_embeds=embeddings.prompt,
                negative_prompt_embeds=embeddings.negative,
                num_inference_steps=recipe.num_inference_steps,
                guidance_scale=recipe.guidance_scale,
                generator=generator,
                # Latents, because a pipeline that is told to stop still decodes.
                output_type="latent",
                callback_on_step_end=callback,
                **size,
            ).images
        return latents

    @property
    def can_batch(self) -> bool:
        """Whether pictures of several jobs can be made together."""
        return not self._is_for_inpainting and not self._guidance.is_split

    def denoise_together(
        self, members: Sequence[Member], on_step: Callable[[], None] = lambda: None
    ) -> list[torch.Tensor | None]:
        """The finished latents of each, in one batch; None for those that left."""
        import torch

        scheduler = make_scheduler(members[0].recipe.sampler, self._scheduler_config)
        with self._here("unet"), torch.inference_mode():
            pipeline = self._pipeline("txt2img", scheduler)
            return denoise_batch(pipeline, scheduler, members, on_step)

    def decode(self, latents: torch.Tensor) -> Pixels:
        """Latents of one picture to pixels (height, width, 3)."""
        import torch

        with self._here("vae"), torch.inference_mode():
            scaled = latents.to(self._vae.dtype) / self._vae.config.scaling_factor
            image = self._vae.decode(scaled, return_dict=False)[0]
            image = (image * 0.5 + 0.5).clamp(0, 1)
            array: Floats = image[0].permute(1, 2, 0).float().cpu().numpy()
        return (array * 255).round().astype(np.uint8)

    def warm_up(self, watch: Watch | None = None) -> None:
        """Make a tiny picture, so that the first real one does not pay for first calls."""
        side = self.native_side
        if self._engine.device == "cpu":
            side = min(side, CPU_WARM_UP_SIDE)
        recipe = Recipe(
            model="", prompt="warm-up", width=side, height=side, num_inference_steps=2, seed=1
        )
        embeddings = self.encode_prompts(recipe)
        self.decode(self.denoise(recipe, 0, embeddings, watch=watch))

    def _size_arguments(
        self, recipe: Recipe, start: StartingPicture | None, generator: torch.Generator
    ) -> dict[str, object]:
        if start is None:
            return {"width": recipe.width, "height": recipe.height}
        if self._is_for_inpainting and recipe.denoising_steps == recipe.num_inference_steps:
            latents = start.posterior.mode()  # never looked at, so nothing is drawn for it
        else:
            latents = start.posterior.sample(generator)
        latents = latents * self._vae.config.scaling_factor
        arguments: dict[str, object] = {
            "image": latents.to(self._unet.dtype),
            "strength": _strength_for(recipe.num_inference_steps, recipe.denoising_steps),
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
            # A U-Net that is not made for inpainting never sees them.
            "masked_image_latents": (latents if kept is None else kept).to(self._unet.dtype),
        }

    def _nothing(self, recipe: Recipe) -> StartingPicture:
        """What a U-Net for inpainting starts from when there is no picture."""
        from PIL import Image

        return self.take_in(Image.new("RGB", (recipe.width, recipe.height), "gray"))

    def _pipeline(self, mode: str, scheduler: Any) -> Any:  # noqa: ANN401 - diffusers has no types
        """A thin pipeline over the shared parts, with this picture's scheduler.

        Built from the parts, since `from_pipe` would cast them to float32.
        """
        pipeline = self._pipelines.get(mode)
        if pipeline is None:
            pipeline = _pipeline_class(mode)(
                vae=self._vae,
                text_encoder=self._text_encoder,
                tokenizer=self._tokenizer,
                unet=self._unet,
                scheduler=make_scheduler(DEFAULT_SAMPLER, self._scheduler_config),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
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
        with self._here("vae"), torch.inference_mode():
            for picture in colors:
                tensor = torch.from_numpy(picture[None] * 2 - 1)
                tensor = tensor.to(device=self._engine.device, dtype=self._vae.dtype)
                encoded = self._vae.encode(tensor).latent_dist.mode()
                latents.append((encoded * self._vae.config.scaling_factor).float().cpu().numpy())
        return np.concatenate(latents)

    def _to_colors(self, latents: Floats) -> Floats:
        import torch

        pictures = [
            self.decode(torch.from_numpy(latent[None]).to(self._engine.device))
            for latent in latents
        ]
        return np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def _pipeline_class(mode: str) -> Any:  # noqa: ANN401 - no types
    import diffusers

    return {
        "txt2img": diffusers.StableDiffusionPipeline,
        "img2img": diffusers.StableDiffusionImg2ImgPipeline,
        "inpaint": diffusers.StableDiffusionInpaintPipeline,
    }[mode]


def _strength_for(steps: int, denoising_steps: int) -> float:
    """A strength of which the pipeline's `int(steps * strength)` is just `denoising_steps`."""
    return min(1.0, (denoising_steps + 0.5) / steps)


def _ready(module: Any) -> Any:  # noqa: ANN401 - no types
    return module.eval().requires_grad_(False)
