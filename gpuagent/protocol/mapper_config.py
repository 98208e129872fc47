"""What a `config.json` of a network that makes maps may say: known settings within bounds. Pure.

Whatever else it says is left out, so that the library that builds the network never sees it: much
of it would have something fetched, or code loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CONFIG_NAME = "config.json"
LIST_MAX = 64
NUMBER_MAX = 16_384
_FEATURE = re.compile(r"stem|stage[0-9]{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A setting that is a number within bounds, or several of them."""

    least: float = 1
    most: float = NUMBER_MAX
    is_whole: bool = True
    may_be_list: bool = False

    def check(self, name: str, value: object) -> None:
        """Raises ValueError with a text that says what can be used."""
        values = value if isinstance(value, list) and self.may_be_list else [value]
        if len(values) > LIST_MAX:
            message = f"{CONFIG_NAME} lists {len(values)} {name}; at most {LIST_MAX} are read"
            raise ValueError(message)
        for each in values:
            kinds = int if self.is_whole else (int, float)
            if isinstance(each, bool) or not isinstance(each, kinds):
                raise ValueError(f"{CONFIG_NAME} says {name}, and not as a number that can be used")
            if not self.least <= each <= self.most:
                raise ValueError(
                    f"{CONFIG_NAME} says {name} {_short(each)}; from {self.least:g} to "
                    f"{self.most:g} can be used"
                )


@dataclass(frozen=True, slots=True)
class Word:
    """A setting that is one of some words."""

    words: frozenset[str]

    def check(self, name: str, value: object) -> None:
        """As of a number."""
        if not isinstance(value, str) or value not in self.words:
            known = ", ".join(sorted(self.words))
            raise ValueError(f"{CONFIG_NAME} says another {name} than {known}")


@dataclass(frozen=True, slots=True)
class Flag:
    """A setting that is true or false."""

    def check(self, name: str, value: object) -> None:
        """As of a number."""
        if not isinstance(value, bool):
            raise ValueError(f"{CONFIG_NAME} must say {name}: true or false")


@dataclass(frozen=True, slots=True)
class Features:
    """A setting that lists stages of a network by their names."""

    def check(self, name: str, value: object) -> None:
        """As of a number."""
        names = value if isinstance(value, list) else [None]
        are_known = all(isinstance(each, str) and _FEATURE.fullmatch(each) for each in names)
        if len(names) > LIST_MAX or not are_known:
            raise ValueError(f"{CONFIG_NAME} lists {name} that no network has")


_Known = Mapping[str, Number | Word | Flag | Features]
_SIZE = Number()
_SIZES = Number(may_be_list=True)
_PLACE = Number(least=-64, most=64)
_PLACES = Number(least=-64, most=64, may_be_list=True)
_ACTIVATION = Word(frozenset({"gelu", "gelu_new", "quick_gelu", "relu", "silu", "swish"}))
_TRANSFORMER: _Known = {
    "hidden_size": _SIZE,
    "num_hidden_layers": Number(most=64),
    "num_attention_heads": Number(most=1_024),
    "hidden_act": _ACTIVATION,
    "layer_norm_eps": Number(least=0, most=1, is_whole=False),
    "image_size": Number(most=1_024, may_be_list=True),
    "patch_size": Number(least=8, may_be_list=True),
    "num_channels": Number(least=3, most=3),
    "qkv_bias": Flag(),
}
_STAGES: _Known = {"out_features": Features(), "out_indices": _PLACES}
_NECK: _Known = {
    "reassemble_factors": Number(least=0.1, most=8, is_whole=False, may_be_list=True),
    "neck_hidden_sizes": _SIZES,
    "fusion_hidden_size": _SIZE,
    "head_in_index": _PLACE,
}
# Published ones keep far below these bounds. What a number is multiplied by is looked at besides.
KNOWN: Mapping[str, _Known] = MappingProxyType(
    {
        "depth_anything": {
            **_NECK,
            "patch_size": Number(least=8, may_be_list=True),
            "reassemble_hidden_size": _SIZE,
            "head_hidden_size": _SIZE,
            "depth_estimation_type": Word(frozenset({"relative", "metric"})),
            "max_depth": _SIZE,
        },
        "dpt": {
            **_TRANSFORMER,
            **_NECK,
            "intermediate_size": _SIZE,
            "is_hybrid": Flag(),
            "backbone_out_indices": _PLACES,
            "readout_type": Word(frozenset({"ignore", "add", "project"})),
            "use_batch_norm_in_fusion_residual": Flag(),
            "use_bias_in_fusion_residual": Flag(),
            "add_projection": Flag(),
            "backbone_featmap_shape": _SIZES,
            "neck_ignore_stages": _PLACES,
        },
        "vitpose": {"scale_factor": Number(most=8), "use_simple_decoder": Flag()},
        "dinov2": {
            **_TRANSFORMER,
            **_STAGES,
            "mlp_ratio": Number(most=64),
            "use_swiglu_ffn": Flag(),
            "apply_layernorm": Flag(),
            "reshape_hidden_states": Flag(),
            "use_mask_token": Flag(),
        },
        "vitpose_backbone": {
            **_TRANSFORMER,
            **_STAGES,
            "mlp_ratio": Number(most=64),
            "num_experts": Number(most=16),
            "part_features": Number(least=0),
        },
        "bit": {
            **_STAGES,
            "num_channels": Number(least=3, most=3),
            "embedding_size": _SIZE,
            "hidden_sizes": _SIZES,
            "depths": Number(most=64, may_be_list=True),
            "layer_type": Word(frozenset({"preactivation", "bottleneck"})),
            "hidden_act": _ACTIVATION,
            "global_padding": Word(frozenset({"same", "valid", "SAME", "VALID"})),
            "num_groups": Number(most=1_024),
            "embedding_dynamic_padding": Flag(),
            "output_stride": Number(most=64),
            "width_factor": Number(most=8),
        },
    }
)
# What a network has where its config does not say, of what `least_parameters` counts.
_USUAL: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "dpt": {"patch_size": 16, "image_size": 384, "neck_hidden_sizes": [96, 192, 384, 768]},
        "depth_anything": {"neck_hidden_sizes": [48, 96, 192, 384], "fusion_hidden_size": 64},
        "dinov2": {"patch_size": 14, "image_size": 224},
        "vitpose_backbone": {"patch_size": [16, 16], "image_size": [256, 192]},
        "bit": {"depths": [3, 4, 9], "hidden_sizes": [256, 512, 1_024]},
    }
)
_USUAL_OF_ALL: Mapping[str, object] = MappingProxyType(
    {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "mlp_ratio": 4,
        "fusion_hidden_size": 256,
        "num_experts": 1,
        "part_features": 256,
        "width_factor": 1,
    }
)


def known_settings(config: Mapping[str, object], model_type: str) -> dict[str, object]:
    """Of what a config says, what such a network is built by, and nothing else.

    Raises:
        ValueError: a setting is beyond its bounds; the text says which.
    """
    known: dict[str, object] = {"model_type": model_type}
    for name, setting in KNOWN[model_type].items():
        if name not in config:
            continue
        if config[name] is not None:
            setting.check(name, config[name])
        known[name] = config[name]
    return known


def backbone_of(config: Mapping[str, object]) -> Mapping[str, object]:
    """The part of known settings that a backbone is built by; those of a network without one."""
    inner = config.get("backbone_config")
    if isinstance(inner, dict):
        return inner
    usual = {"depth_anything": "dinov2", "vitpose": "vitpose_backbone"}.get(_type(config))
    if usual is None:
        return config
    # As transformers fills in what is not said of it.
    more = {"hidden_size": 384, "image_size": 518} if usual == "dinov2" else {}
    return {"model_type": usual, **more}


def least_parameters(config: Mapping[str, object]) -> int:
    """How many numbers the weights of a network of these known settings have at least."""
    inner = backbone_of(config)
    found = _of_stages(inner) if _type(inner) == "bit" else _of_transformer(inner)
    if config.get("is_hybrid"):
        found += _of_transformer(config)
    if _type(config) == "vitpose":
        return found
    width = _whole(config, "fusion_hidden_size")
    necks = _wholes(config, "neck_hidden_sizes")
    # Per stage four convolutions and a projection; of the first one half may be left out.
    return found + 9 * width * sum(necks) + max(0, 37 * len(necks) - 18) * width**2


def _of_transformer(config: Mapping[str, object]) -> int:
    width, layers = _whole(config, "hidden_size"), _whole(config, "num_hidden_layers")
    if _type(config) == "dpt":
        inner = int(str(config.get("intermediate_size") or 3_072))
    else:
        inner = width * _whole(config, "mlp_ratio")
    experts = 0
    if _type(config) == "vitpose_backbone":
        experts = (_whole(config, "num_experts") - 1) * _whole(config, "part_features") * inner
    sides, patches = (_wholes(config, name) for name in ("image_size", "patch_size"))
    places = math.prod(
        side // patch for side, patch in zip((sides * 2)[:2], (patches * 2)[:2], strict=True)
    )
    return places * width + layers * (4 * width**2 + 2 * width * inner + experts)


def _of_stages(config: Mapping[str, object]) -> int:
    factor = _whole(config, "width_factor")
    found = 0
    for depth, size in zip(
        _wholes(config, "depths"), _wholes(config, "hidden_sizes"), strict=False
    ):
        quarter = size * factor // 4
        found += depth * (9 * quarter**2 + 4 * quarter**2)
    return found


def _type(config: Mapping[str, object]) -> str:
    return str(config.get("model_type"))


def _wholes(config: Mapping[str, object], name: str) -> list[int]:
    value = config.get(name)
    if value is None:
        value = _USUAL.get(_type(config), {}).get(name, _USUAL_OF_ALL.get(name))
    return [int(str(each)) for each in (value if isinstance(value, list) else [value])]


def _whole(config: Mapping[str, object], name: str) -> int:
    return _wholes(config, name)[0]


def _short(number: float) -> str:
    """Also of a number that no float can be."""
    try:
        return f"{number:g}"
    except OverflowError:
        return "beyond all bounds"
