"""Guidance that ends before the picture is done: from then on only one half is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpuagent.protocol.recipe import Recipe

Callback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


class GuidanceCutOff:
    """Pipelines ask for both halves (without the prompt and with it) and move the one away from the
    other. Where both are the same, they move by nothing: so the second half is computed alone and
    given twice, and any pipeline has half the work without knowing.
    """

    def __init__(self, denoiser: Any) -> None:  # noqa: ANN401 - no types
        self._is_on = False
        self._forward = denoiser.forward
        denoiser.forward = self._call

    @contextmanager
    def during(self, recipe: Recipe, callback: Callback) -> Iterator[Callback]:
        """The callback for the pipeline's steps; after the last of them all is as before."""

        def after_step(
            pipeline: Any,  # noqa: ANN401 - as above
            number: int,
            timestep: Any,  # noqa: ANN401 - as above
            tensors: dict[str, Any],
        ) -> dict[str, Any]:
            if (number + 1) >= recipe.guidance_end * pipeline.num_timesteps:
                self._is_on = bool(pipeline.do_classifier_free_guidance)
            return callback(pipeline, number, timestep, tensors)

        try:
            yield after_step if recipe.guidance_end < 1 < recipe.guidance_scale else callback
        finally:
            self._is_on = False

    def _call(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - as above
        latents = given[0] if given else named["hidden_states"]
        if not self._is_on or latents.shape[0] % 2:
            return self._forward(*given, **named)
        import torch

        count = latents.shape[0]
        named["return_dict"] = False
        half = self._forward(*_second(given, count), **_second(named, count))[0]
        return (torch.cat([half, half]),)


def _second(value: Any, count: int) -> Any:  # noqa: ANN401 - as above
    """The half with the prompt; what belongs to both halves, like a timestep, as it is."""
    if isinstance(value, dict):
        return {name: _second(each, count) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_second(each, count) for each in value)
    if getattr(value, "ndim", 0) and value.shape[0] == count:
        return value[count // 2 :]
    return value
