"""Layers of SDXL's U-Net by their first names, against those of diffusers' own class."""

from __future__ import annotations

import pytest

from gpuagent.protocol.adapter_files import Bases, Header, lora_layers
from gpuagent.protocol.sgm_names import as_diffusers


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Every layer of a U-Net of SDXL's shape."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=64,
            attention_head_dim=8,
            norm_num_groups=8,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=64,
        )
    return {name.replace(".", "_") for name, _module in unet.named_modules()}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("input_blocks_0_0", "conv_in"),
        ("input_blocks_1_0_in_layers_2", "down_blocks_0_resnets_0_conv1"),
        ("input_blocks_3_0_op", "down_blocks_0_downsamplers_0_conv"),
        (
            "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        ),
        ("input_blocks_8_1_proj_in", "down_blocks_2_attentions_1_proj_in"),
        ("input_blocks_7_0_skip_connection", "down_blocks_2_resnets_0_conv_shortcut"),
        (
            "middle_block_1_transformer_blocks_9_ff_net_2",
            "mid_block_attentions_0_transformer_blocks_9_ff_net_2",
        ),
        ("middle_block_2_emb_layers_1", "mid_block_resnets_1_time_emb_proj"),
        (
            "output_blocks_2_1_transformer_blocks_3_attn2_to_out_0",
            "up_blocks_0_attentions_2_transformer_blocks_3_attn2_to_out_0",
        ),
        ("output_blocks_2_2_conv", "up_blocks_0_upsamplers_0_conv"),
        ("output_blocks_8_0_out_layers_3", "up_blocks_2_resnets_2_conv2"),
        ("label_emb_0_2", "add_embedding_linear_2"),
        ("time_embed_0", "time_embedding_linear_1"),
        ("out_2", "conv_out"),
    ],
)
def test_each_has_its_layer(theirs: str, ours: str, names: set[str]) -> None:
    assert as_diffusers(theirs) == ours
    assert ours in names


def test_names_of_diffusers_stay(names: set[str]) -> None:
    assert {as_diffusers(name) for name in names} == names


def test_a_lora_by_those_names_fits() -> None:
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    bases: Bases = {"unet": {layer: (64, 64)}}
    stem = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    header = Header(
        shapes={
            f"{stem}.lora_down.weight": (4, 64),
            f"{stem}.lora_up.weight": (64, 4),
            f"{stem}.alpha": (),
        }
    )
    (found,) = lora_layers(header, bases)
    assert (found.part, found.module, found.rank) == ("unet", layer, 4)
