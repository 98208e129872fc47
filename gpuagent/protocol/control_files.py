"""What a ControlNet's file holds and which U-Net it fits, from names and shapes alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gpuagent.protocol.adapter_files import AdapterUnfitError, Bases, Header, Shape, layers_of

_READER = "controlnet_cond_embedding"
_FIRST, _LAST = f"{_READER}.conv_in.weight", f"{_READER}.conv_out.weight"
# A ControlNet's own half of the U-Net it was copied from.
_COPIED = ("time_embedding.", "add_embedding.", "down_blocks.", "mid_block.")
_STAGES_MAX = 16


def is_control(header: Header) -> bool:
    """Whether it is a ControlNet, as diffusers names its tensors."""
    return {_FIRST, _LAST, "controlnet_mid_block.weight"} <= set(header.shapes)


def check_control(header: Header, bases: Bases) -> None:
    """Check that its half of a U-Net is that of the model's.

    Raises:
        AdapterUnfitError: it is not; the text says where.
    """
    unet, own = bases.get("unet", {}), layers_of(header)
    copied = {name: shape for name, shape in own.items() if name.startswith(_COPIED)}
    wanted = {name: shape for name, shape in unet.items() if name.startswith(_COPIED)}
    for name in sorted(set(copied) ^ set(wanted)):
        whose = "it" if name in copied else "the model"
        raise AdapterUnfitError(f"only {whose} has a layer {name[:120]!r}")
    for name, shape in sorted(copied.items()):
        if shape != wanted[name]:
            raise AdapterUnfitError(
                f"{name[:120]!r} is {_sides(shape)}, and the model's layer is "
                f"{_sides(wanted[name])}"
            )
    if not copied or own.get("conv_in", ())[:1] != unet.get("conv_in", ())[:1]:
        raise AdapterUnfitError("it was made for another kind of model")


def reader_of(header: Header) -> dict[str, object]:
    """The settings of its reader of maps, which no config of a U-Net says.

    Raises:
        AdapterUnfitError: a part of it is missing.
    """
    first, shapes = _shape(header, _FIRST), header.shapes
    widths = [first[0]]
    for stage in range(1, _STAGES_MAX, 2):
        name = f"{_READER}.blocks.{stage}.weight"
        if name not in shapes:
            break
        widths.append(_shape(header, name)[0])
    return {
        "conditioning_channels": first[1],
        "conditioning_embedding_out_channels": widths,
        "in_channels": _shape(header, "conv_in.weight")[1],
    }


def _shape(header: Header, name: str) -> Shape:
    shape = header.shapes.get(name, ())
    if len(shape) != 4:
        raise AdapterUnfitError(f"{name!r} is missing, or no layer of a ControlNet")
    return shape


def _sides(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def control_config(header: Header, unet: Mapping[str, object]) -> dict[str, object]:
    """The config of a ControlNet that came without one, for the U-Net that it fits.

    Raises:
        AdapterUnfitError: its reader of maps is not whole.
    """
    shared = {name: unet[name] for name in _OF_UNET if name in unet}
    return {"_class_name": "ControlNetModel", **shared, **reader_of(header)}


_OF_UNET = (
    "flip_sin_to_cos",
    "freq_shift",
    "down_block_types",
    "mid_block_type",
    "only_cross_attention",
    "block_out_channels",
    "layers_per_block",
    "downsample_padding",
    "mid_block_scale_factor",
    "act_fn",
    "norm_num_groups",
    "norm_eps",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "attention_head_dim",
    "num_attention_heads",
    "use_linear_projection",
    "class_embed_type",
    "addition_embed_type",
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "num_class_embeds",
    "upcast_attention",
    "resnet_time_scale_shift",
    "projection_class_embeddings_input_dim",
)
