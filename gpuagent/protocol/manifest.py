"""The manifest: the record from which a picture can be made again.

It is deterministic: no ids, times or names of people, so the same recipe on the same engine gives
the same manifest, and the picture that carries it the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gpuagent.protocol.controls import ControlUse
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.references import ReferenceUse
from gpuagent.protocol.taxonomy import SAMPLERS, AssetKind
from gpuagent.protocol.tuning import told_as_text

MANIFEST_VERSION = 1
PNG_KEY = "studio.manifest"
INFOTEXT_KEY = "parameters"


def build_manifest(
    recipe: Recipe,
    *,
    index: int,
    model_name: str,
    model_digest: str,
    architecture: str,
    engine: Mapping[str, object],
    adapters: Sequence[ModelRef] = (),
) -> dict[str, object]:
    """The manifest of picture `index`. `engine` is the agent's fingerprint (versions, device).

    What the recipe lays over the model stands there by digest; here by name, too.
    """
    laid = [_adapter(recipe, ref) for ref in _laid(recipe, adapters)]
    return {
        "version": MANIFEST_VERSION,
        "recipe": recipe.only(index).to_wire(),
        "seed": recipe.seed_of(index),
        "model": {"name": model_name, "digest": model_digest, "architecture": architecture},
        "engine": dict(engine),
        **({"adapters": laid} if laid else {}),
    }


def _laid(recipe: Recipe, adapters: Sequence[ModelRef]) -> list[ModelRef]:
    """Those that the recipe names, in its order."""
    known = {ref.digest: ref for ref in adapters}
    return [known[digest] for digest in recipe.adapters if digest in known]


def _adapter(recipe: Recipe, ref: ModelRef) -> dict[str, object]:
    said: dict[str, object] = {"kind": ref.kind.value, "name": ref.name, "digest": ref.digest}
    weights = {use.digest: use.weight for use in recipe.loras}
    if ref.kind is AssetKind.LORA:
        return {**said, "weight": weights[ref.digest]}
    if ref.kind is not AssetKind.EMBEDDING:
        return said
    return {**said, "trigger": next(iter(ref.trigger_words), "")}


def canonical(manifest: Mapping[str, object]) -> str:
    """One spelling for each manifest: sorted keys, no spaces, plain UTF-8."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def infotext(
    recipe: Recipe,
    *,
    index: int,
    model_name: str,
    model_digest: str,
    adapters: Sequence[ModelRef] = (),
) -> str:
    """The parameter text that A1111-class tools read back from a PNG."""
    if not recipe.is_drawn:
        return _undrawn_infotext(recipe, model_name=model_name, model_digest=model_digest)
    laid = _laid(recipe, adapters)
    weights = {use.digest: use.weight for use in recipe.loras}
    named = [f" <lora:{r.name}:{weights[r.digest]:g}>" for r in laid if r.digest in weights]
    lines = [recipe.prompt + "".join(named)]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {recipe.negative_prompt}")
    settings: dict[str, object] = {
        "Steps": recipe.num_inference_steps,
        "Sampler": SAMPLERS[recipe.sampler].label,
        "CFG scale": f"{recipe.guidance_scale:g}",
        "Seed": recipe.seed_of(index),
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": model_digest[:10],
        "Model": model_name,
    }
    settings |= _finishers(recipe, laid)
    if recipe.clip_skip:
        settings["Clip skip"] = recipe.clip_skip
    if recipe.image is not None:
        settings["Denoising strength"] = f"{recipe.strength:g}"
    upscalers = [ref.name for ref in laid if ref.kind is AssetKind.UPSCALER]
    settings |= told_as_text(recipe.only(index), next(iter(upscalers), ""))
    if recipe.mask is not None:
        settings["Mask blur"] = recipe.mask_blur
    if recipe.is_masked_area:
        settings["Inpaint area"] = "Only masked"
        settings["Masked area padding"] = recipe.mask_padding
    names = {ref.digest: ref.name for ref in laid}
    for number, use in enumerate(recipe.controls):
        settings[f"ControlNet {number}"] = _control_text(use, names.get(use.model, ""))
    for number, seen in enumerate(recipe.references, len(recipe.controls)):
        settings[f"ControlNet {number}"] = _reference_text(seen, names)
    for kind, label in ((AssetKind.LORA, "Lora hashes"), (AssetKind.EMBEDDING, "TI hashes")):
        hashes = [f"{ref.name}: {ref.digest[:10]}" for ref in laid if ref.kind is kind]
        if hashes:
            settings[label] = json.dumps(", ".join(hashes), ensure_ascii=False)
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _control_text(use: ControlUse, name: str) -> str:
    """As the extension writes it that brought ControlNets to those tools."""
    module = use.kind.value if use.map is None else "none"
    return _unit_text(module, f"{name} [{use.model[:8]}]", use)


def _reference_text(use: ReferenceUse, names: Mapping[str, str]) -> str:
    if use.model is None:
        return _unit_text("reference_only", "None", use)
    return _unit_text("ip-adapter", f"{names.get(use.model, '')} [{use.model[:8]}]", use)


def _unit_text(module: str, model: str, use: ControlUse | ReferenceUse) -> str:
    said = {
        "Module": module,
        "Model": model,
        "Weight": f"{use.weight:g}",
        "Guidance Start": f"{use.start:g}",
        "Guidance End": f"{use.end:g}",
    }
    return json.dumps(", ".join(f"{k}: {v}" for k, v in said.items()), ensure_ascii=False)


def _undrawn_infotext(recipe: Recipe, *, model_name: str, model_digest: str) -> str:
    """As those tools write what they made in their extras."""
    settings: dict[str, object] = {"Size": f"{recipe.width}x{recipe.height}"}
    if recipe.is_upscale:
        settings["Postprocess upscale by"] = recipe.scale
        settings["Postprocess upscaler"] = model_name
    elif recipe.map_kind is not None:
        settings["Postprocess map"] = f"{recipe.map_kind.value} by {model_name}"
    else:
        settings["Postprocess remove background"] = model_name
        if recipe.cutout_edge:
            settings["Postprocess soft edge"] = recipe.cutout_edge
    settings["Model hash"] = model_digest[:10]
    line = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return f"{recipe.prompt}\n{line}" if recipe.prompt else line


def _finishers(recipe: Recipe, laid: Sequence[ModelRef]) -> dict[str, object]:
    names = {ref.digest: ref.name for ref in laid}
    said: dict[str, object] = {}
    if recipe.vae is not None:
        said["VAE"] = names.get(recipe.vae, recipe.vae[:10])
    if recipe.refiner is not None:
        said["Refiner"] = names.get(recipe.refiner, recipe.refiner[:10])
        said["Refiner switch at"] = f"{recipe.refiner_start:g}"
    return said


def same_engine(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    """True if both manifests came from engines that promise identical bytes."""
    return first.get("engine") == second.get("engine")
