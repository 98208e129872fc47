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

from typing_extensions import override

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.adapters import Laying, Stack
from gpuagent.pipelines.batching import Member, denoise_batch, embeddings_of, generators_of
from gpuagent.pipelines.control import Guide, Steering
from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.guidance import GuidanceCutOff
from gpuagent.pipelines.inpaint import StartingPicture as StartingPicture
from gpuagent.pipelines.inpaint import mask_pixels
from gpuagent.pipelines.ip_adapter import Example
from gpuagent.pipelines.latents import LatentSpace
from gpuagent.pipelines.loaded import VAE
from gpuagent.pipelines.placing import Placed, SplitGuidance
from gpuagent.pipelines.preview import noted_latent_colors
from gpuagent.pipelines.prompts import Embeddings
from gpuagent.pipelines.reference import Reference
from gpuagent.pipelines.samplers import Foreseer, make_scheduler, with_sigmas
from gpuagent.pipelines.steps import Share, StepCallback, Watch
from gpuagent.pipelines.tiling import TiledDenoiser
from gpuagent.pipelines.variations import mixed_noise
from gpuagent.planning.plan import Measure
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import DEFAULT_SAMPLER

if TYPE_CHECKING:
    import torch

CPU_WARM_UP_SIDE = 128


class Family(LatentSpace):
    """A model version that draws.

    `DENOISER` names the part that the steps go through, `SAMPLER` one that every model of the
    family can use; a family is wide if its numbers do not fit into float16. `ROWS` are tensors of
    its pipeline, beside the latents, that have a row for each picture of a batch: all that have. A
    family whose pipeline does not let go of a row names none, and makes no batches.
    """

    DENOISER: ClassVar[str] = "unet"
    SAMPLER: ClassVar[str] = DEFAULT_SAMPLER
    IS_WIDE: ClassVar[bool] = False
    ROWS: ClassVar[tuple[str, ...]] = ()

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
        self._cut_off = GuidanceCutOff(self._denoiser)
        self.tiles = TiledDenoiser(self._denoiser, self._scale, self._steering.show)
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

    def _make_scheduler(
        self, sampler_id: str, generator: torch.Generator | list[torch.Generator]
    ) -> Any:  # noqa: ANN401 - as above
        """A fresh one; what it draws itself, it draws by the generator, or by that of its row."""
        del generator  # these pipelines hand it over with every step
        return make_scheduler(sampler_id, self._scheduler_config)

    @property
    def native_side(self) -> int:
        """The side in pixels the model was made for."""
        return int(self._denoiser.config.sample_size) * self._scale

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
    def guided(self, guides: Sequence[Guide | Reference | Example]) -> Iterator[None]:
        """ControlNets guide what is drawn while this lasts, and it takes after the others.

        Raises:
            AttemptFailedError: one does not fit the model.
        """
        with self._steering.on(guides):
            yield

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
        scheduler = with_sigmas(scheduler, recipe.sigmas)
        made_step = StepCallback(
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
                    **self._share_arguments(until),
                ).images
        return self._unpacked(latents, recipe)

    @property
    def can_batch(self) -> bool:
        """Whether pictures of several jobs can be denoised together."""
        return bool(self.ROWS) and not self._is_for_inpainting and not self._guidance.is_split

    def denoise_together(
        self, members: Sequence[Member], on_step: Callable[[], None] = lambda: None
    ) -> list[torch.Tensor | None]:
        """The finished latents of each, in one batch; None for those that left."""
        import torch

        generators = generators_of(members)
        scheduler = self._make_scheduler(members[0].recipe.sampler, generators)
        with self._here(self.DENOISER), torch.inference_mode():
            return denoise_batch(
                self._pipeline("txt2img", scheduler),
                members,
                generators,
                prompts=self._prompt_arguments(embeddings_of(members)),
                rows=self.ROWS,
                on_step=on_step,
            )

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

    def _unpacked(self, latents: torch.Tensor, recipe: Recipe) -> torch.Tensor:
        """Latents as the VAE has them (1, channels, height, width), of what a pipeline has."""
        del recipe
        return latents

    def _packed_mask(self, mask: torch.Tensor, pipeline: Any) -> torch.Tensor:  # noqa: ANN401 - as above
        """A mask of latents (1, 1, height, width) as the pipeline has it."""
        return mask.repeat(1 + pipeline.do_classifier_free_guidance, 1, 1, 1)

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


def ready(module: Any) -> Any:  # noqa: ANN401 - no types
    """For drawing, not for training."""
    return module.eval().requires_grad_(False)
