"""LoRAs of Flux and Stable Diffusion 3 under their makers' names, as diffusers reads them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gpuagent.pipelines.adapters import Adapter, Laying, Stack
from gpuagent.protocol.adapter_files import AdapterUnfitError, Bases, Header, lora_layers
from gpuagent.protocol.flow_names import LAST_MODULATION
from gpuagent.protocol.taxonomy import AssetKind
from tests.flow_files import flux_layers, make_flux, make_sd3, published_sd3, sd3_layers

from .support import FAST_FILE, adapter_ref

Tensors = dict[str, torch.Tensor]
RANK, ALPHA = 6, 3.0
_KOHYA = (".lora_down.weight", ".lora_up.weight")
_PEFT = (".lora_A.weight", ".lora_B.weight")


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(each.weight.shape)
        for name, each in module.named_modules()
        if getattr(getattr(each, "weight", None), "ndim", 0) >= 2
    }


@pytest.fixture(scope="module")
def flux() -> Bases:
    """Flux at its own width, which diffusers takes for granted, with one block of each kind."""
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        model = FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
    return {"transformer": shapes_of(model)}


def first_layers() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Of the first block of each kind, and what is around the blocks."""
    return (pair for pair in flux_layers() if "blocks.1." not in pair[0])


def flux_lora(bases: Bases, *, is_sparse: bool = False) -> Tensors:
    """A random one of all layers, as kohya's tools write it; `is_sparse`: q, k and v for
    themselves, as they are when they were trained so.
    """
    torch.manual_seed(4)
    made: Tensors = {}
    for old, new in first_layers():
        shapes = [bases["transformer"][name] for name in new]
        rank = RANK * len(new)
        stem = f"lora_unet_{old.replace('.', '_')}"
        up = torch.randn(sum(shape[0] for shape in shapes), rank) / 8
        if is_sparse and len(new) > 1:
            kept, at = torch.zeros_like(up), 0
            for number, shape in enumerate(shapes):
                rows, columns = slice(at, at + shape[0]), slice(number * RANK, (number + 1) * RANK)
                kept[rows, columns] = up[rows, columns]
                at += shape[0]
            up = kept
        made[f"{stem}.lora_down.weight"] = torch.randn(rank, shapes[0][1]) / 8
        made[f"{stem}.lora_up.weight"] = up
        if "final_layer" not in old:  # diffusers leaves out how strong these were trained to be
            made[f"{stem}.alpha"] = torch.tensor(ALPHA)
    return made


def added(tensors: Tensors, bases: Bases, part: str = "transformer") -> Tensors:
    """What our reading adds to each layer's output for one input."""
    header = Header(shapes={name: tuple(each.shape) for name, each in tensors.items()})
    made = {}
    for layer in lora_layers(header, bases):
        assert layer.part == part
        up = tensors[layer.up]
        if layer.rows:
            up = torch.cat([up[begin:end] for begin, end in layer.rows])
        alpha = float(tensors[layer.alpha]) if layer.alpha else layer.rank
        made[layer.module] = up @ (tensors[layer.down] @ given(layer.module, tensors[layer.down]))
        made[layer.module] *= alpha / layer.rank
    return made


def given(module: str, down: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(module))
    return torch.randn(down.shape[1], generator=generator)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_what_a_lora_of_flux_adds_is_what_diffusers_reads_in_it(
    flux: Bases, is_sparse: bool
) -> None:
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    lora = flux_lora(flux, is_sparse=is_sparse)
    ours = added(lora, flux)
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(lora))
    modules = {name.removesuffix(_PEFT[0]) for name in theirs if name.endswith(_PEFT[0])}
    assert {module.removeprefix("transformer.") for module in modules} == set(ours)
    assert set(ours) == set(flux["transformer"]), "every layer of the model"
    for module in modules:
        down, up = theirs[module + _PEFT[0]], theirs[module + _PEFT[1]]
        name = module.removeprefix("transformer.")
        assert torch.allclose(up @ (down @ given(name, down)), ours[name], atol=1e-4), name


def test_their_own_spelling_with_dots_is_the_same(flux: Bases) -> None:
    lora = flux_lora(flux)
    wanted = added(lora, flux)
    for prefix in ("diffusion_model.", "transformer.", ""):
        dotted: Tensors = {}
        for old, _new in first_layers():
            stem = f"lora_unet_{old.replace('.', '_')}"
            for theirs, ours in zip(_KOHYA, _PEFT, strict=True):
                dotted[f"{prefix}{old}{ours}"] = lora[stem + theirs]
            if f"{stem}.alpha" in lora:
                dotted[f"{prefix}{old}.alpha"] = lora[f"{stem}.alpha"]
        ours_added = added(dotted, flux)
        assert all(ours_added[name].equal(wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("double_blocks_1_img_attn_qkv", 9_216, "has no layer"),
        ("double_blocks_0_img_attn_kqv", 9_216, "has no layer"),
        ("double_blocks_0_img_attn_qkv", 3_072, "the model's layer is 9216 × 3072"),
        ("single_blocks_0_linear1", 9_216, "the model's layer is 21504 × 3072"),
    ],
)
def test_what_does_not_fit_flux_is_refused(flux: Bases, name: str, rows: int, reason: str) -> None:
    stem = f"lora_unet_{name}"
    shapes = {f"{stem}.lora_down.weight": (6, 3_072), f"{stem}.lora_up.weight": (rows, 6)}
    with pytest.raises(AdapterUnfitError, match=reason):
        lora_layers(Header(shapes=shapes), flux)


@pytest.mark.parametrize("is_newer", [False, True])
def test_what_a_lora_of_sd3_adds_is_what_it_would_be_in_the_model_itself(is_newer: bool) -> None:
    # Laid over the published tensors, which diffusers then reads its way.
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers

    model = make_sd3(is_newer=is_newer)
    before = published_sd3(model)
    back = convert_sd3_transformer_checkpoint_to_diffusers(dict(before))
    assert all(back[name].equal(tensor) for name, tensor in model.state_dict().items())
    bases: Bases = {"transformer": shapes_of(model)}
    lora, after = Tensors(), dict(before)
    torch.manual_seed(5)
    for old, _new in sd3_layers():
        name = f"{old}.weight"
        if name not in before:
            continue
        shape = before[name].shape
        down, up = torch.randn(RANK, *shape[1:]) / 8, torch.randn(shape[0], RANK) / 8
        stem = f"lora_unet_{old.replace('.', '_')}"
        windows = [1] * (len(shape) - 2)
        lora |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up.reshape(*up.shape, *windows),
        }
        lora[f"{stem}.alpha"] = torch.tensor(ALPHA)
        delta = (up @ down.flatten(1)).reshape(shape) * ALPHA / RANK
        after[name] = before[name] + delta
    theirs = convert_sd3_transformer_checkpoint_to_diffusers(after)
    seen = set()
    for layer in lora_layers(Header(shapes={n: tuple(t.shape) for n, t in lora.items()}), bases):
        up = lora[layer.up].flatten(1)
        if layer.rows:
            up = torch.cat([up[begin:end] for begin, end in layer.rows])
        name = f"{layer.module}.weight"
        delta = (up @ lora[layer.down].flatten(1)).reshape(back[name].shape) * ALPHA / RANK
        assert torch.allclose(theirs[name] - back[name], delta, atol=1e-5), name
        seen.add(layer.module)
    assert seen == set(bases["transformer"]), "every layer of the model"


def test_laid_over_a_model_it_makes_the_same_as_under_diffusers_names() -> None:
    model = make_flux().eval()
    bases: Bases = {"transformer": shapes_of(model)}
    torch.manual_seed(6)
    theirs, ours = Tensors(), Tensors()
    for old, new in flux_layers():
        shapes = [bases["transformer"][name] for name in new]
        down = torch.randn(RANK, shapes[0][1])
        up = torch.randn(sum(shape[0] for shape in shapes), RANK)
        stem = f"lora_unet_{old.replace('.', '_')}"
        theirs |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        if old == LAST_MODULATION:
            up = torch.cat(up.chunk(2)[::-1])
        at = 0
        for name, shape in zip(new, shapes, strict=True):
            ours[f"transformer.{name}.lora_A.weight"] = down
            ours[f"transformer.{name}.lora_B.weight"] = up[at : at + shape[0]]
            at += shape[0]
    laying = Laying("cpu", {"transformer": model})
    made = [drawn(model, laying, lora) for lora in (Tensors(), theirs, ours)]
    assert made[1].equal(made[2])
    assert not torch.allclose(made[0], made[1], atol=1e-3)


def drawn(model: nn.Module, laying: Laying, lora: Tensors) -> torch.Tensor:
    """What the model makes of one input under a LoRA."""
    header = Header(shapes={name: tuple(tensor.shape) for name, tensor in lora.items()})
    adapter = Adapter(ref=adapter_ref(FAST_FILE, AssetKind.LORA), header=header, tensors=lora)
    generator = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    given = {
        "hidden_states": noise(1, 4, 64),
        "encoder_hidden_states": noise(1, 3, 32),
        "pooled_projections": noise(1, 32),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.tensor([3.5]),
        "img_ids": torch.zeros(4, 3),
        "txt_ids": torch.zeros(3, 3),
    }
    with torch.inference_mode(), laying.laid(Stack(loras=((adapter, 0.5),) if lora else ())):
        made: torch.Tensor = model(**given, return_dict=False)[0]
    return made
