"""Maps made by networks: as transformers makes them, near is white, poses are drawn."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from gpuagent.pipelines.engine import Engine
from gpuagent.pipelines.mapper import (
    Mapper,
    PoseMapper,
    _shapes_as_published,
    load_mapper,
    near_is_white,
)
from gpuagent.pipelines.skeleton import COLORS, LIMBS, draw_skeleton, to_openpose
from gpuagent.pipelines.steps import Watch
from gpuagent.planning.mapping import estimate_map, plan_map
from gpuagent.planning.memory import OVERHEAD_BYTES, estimate, mapping_bytes
from gpuagent.planning.plan import Verdict
from gpuagent.protocol.manifest import INFOTEXT_KEY, PNG_KEY
from gpuagent.protocol.mapper_files import (
    UNUSED,
    architecture_of,
    check_shapes,
    check_whole,
    clean_config,
    read_side,
)
from gpuagent.protocol.messages import ModelRef
from gpuagent.protocol.recipe import Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.taxonomy import MAPPED, Architecture, AssetKind, ControlKind, FileKind
from tests.mappers import save_mapper

from .agent_process import AgentProcess
from .support import ADAPTERS, Attempt, FakeStudio, Valkey, model_ref, wait_until

MIB = 1024**2
DIGEST = "a" * 64
DEPTHS = (Architecture.DEPTH_ANYTHING, Architecture.DPT)


class Stopped(Exception):
    """The job was canceled."""


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(3).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def folders(store: Path) -> dict[Architecture, Path]:
    return {each: save_mapper(store / each, each) for each in MAPPED}


@pytest.fixture(scope="module")
def mappers(folders: dict[Architecture, Path], engine: Engine) -> dict[Architecture, Mapper]:
    return {each: load_mapper(each, folder, engine) for each, folder in folders.items()}


@pytest.mark.parametrize("architecture", DEPTHS)
@pytest.mark.parametrize("size", [(96, 128), (100, 64)])
def test_depths_are_those_of_transformers_own_pipeline(
    folders: dict[Architecture, Path],
    mappers: dict[Architecture, Mapper],
    architecture: Architecture,
    size: tuple[int, int],
) -> None:
    import transformers
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    folder = folders[architecture]
    theirs = transformers.pipeline(
        "depth-estimation",
        model=transformers.AutoModelForDepthEstimation.from_pretrained(folder),
        image_processor=DPTImageProcessorPil.from_pretrained(folder),
    )
    picture = noise(*size)
    made = mappers[architecture].make(picture)
    assert made.shape == (size[1], size[0], 3)
    assert np.array_equal(made[..., 0], np.array(theirs(picture)["depth"]))
    assert np.array_equal(made[..., 0], made[..., 2])
    assert (made.min(), made.max()) == (0, 255)


def test_near_is_white_whether_nearness_or_distance_is_told(
    folders: dict[Architecture, Path], engine: Engine, tmp_path: Path
) -> None:
    # Nearness: the largest value is the nearest
    values = np.array([[0.5, 2.0], [1.0, 8.5]], dtype=np.float32)
    assert np.array(near_is_white(values)).tolist() == [[0, 47], [15, 255]]
    assert not np.array(near_is_white(np.ones((2, 2), dtype=np.float32))).any()
    # A network that tells meters has them the other way round
    metric = save_mapper(
        tmp_path / "metric",
        Architecture.DEPTH_ANYTHING,
        depth_estimation_type="metric",
        max_depth=20,
    )
    weights = load_file(metric / "model.safetensors")
    last = weights["head.conv3.weight"]
    weights["head.conv3.weight"] = last * 1e5  # random ones are all but alike in meters
    save_file(weights, metric / "model.safetensors", metadata={"format": "pt"})
    mapper = load_mapper(Architecture.DEPTH_ANYTHING, metric, engine)
    picture = noise(56, 56)  # as the network reads it, so that nothing is scaled
    prepared = mapper._processor(images=picture, return_tensors="pt")
    with torch.inference_mode():
        meters = mapper._network(**prepared).predicted_depth[0]
    far = np.unravel_index(int(meters.argmax()), meters.shape)
    near = np.unravel_index(int(meters.argmin()), meters.shape)
    made = mapper.make(picture)[..., 0]
    assert (made[near], made[far]) == (255, 0)


def test_long_pictures_are_squeezed_not_read_larger(mappers: dict[Architecture, Mapper]) -> None:
    mapper = mappers[Architecture.DEPTH_ANYTHING]
    seen: list[tuple[int, ...]] = []
    hook = mapper._network.register_forward_pre_hook(
        lambda _net, _given, named: seen.append(tuple(named["pixel_values"].shape)),
        with_kwargs=True,
    )
    for size in ((512, 64), (128, 64)):
        assert mapper.make(noise(*size)).shape == (size[1], size[0], 3)
    hook.remove()
    assert seen == [(1, 3, 56, 56), (1, 3, 56, 112)]


STANDING = {
    0: (50.0, 10.0), 1: (52.0, 8.0), 2: (48.0, 8.0), 3: (55.0, 9.0), 4: (45.0, 9.0),
    5: (65.0, 30.0), 6: (35.0, 30.0), 7: (70.0, 50.0), 8: (30.0, 50.0), 9: (72.0, 68.0),
    10: (28.0, 68.0), 11: (60.0, 70.0), 12: (40.0, 70.0), 13: (61.0, 90.0), 14: (39.0, 90.0),
    15: (62.0, 110.0), 16: (38.0, 110.0),
}  # fmt: skip


def test_a_pose_is_drawn_in_the_colors_that_controlnets_know() -> None:
    joints = to_openpose([STANDING[number] for number in range(17)])
    assert len(joints) == len(COLORS) == 18
    # The neck is between the shoulders; right comes before left, as OpenPose has it
    assert joints[1] == (50.0, 30.0)
    assert joints[2] == STANDING[6]
    assert joints[5] == STANDING[5]
    assert joints[13] == STANDING[15]
    assert joints[17] == STANDING[3]
    drawn = np.array(draw_skeleton(joints, (100, 120)))
    # Every joint has its color, every limb three fifths of its own
    for joint, color in zip(joints, COLORS, strict=True):
        assert joint is not None
        if joint[1] > 20:  # those of the face lie over each other
            assert tuple(drawn[int(joint[1]), int(joint[0])]) == color
    for (first, second), color in list(zip(LIMBS, COLORS, strict=False))[:12]:
        (x, y), (u, v) = joints[first] or (0, 0), joints[second] or (0, 0)
        middle = tuple(drawn[round((y + v) / 2), round((x + u) / 2)])
        assert middle == tuple(int(part * 0.6) for part in color)
    # and the rest is black
    assert not drawn[:5].any()
    assert not drawn[:, :15].any()


def test_who_is_not_seen_is_not_drawn() -> None:
    unseen: list[tuple[float, float] | None] = [None] * 17
    assert not np.array(draw_skeleton(to_openpose(unseen), (64, 64))).any()
    # One shoulder alone makes no neck, and no limbs to it
    one = [*unseen[:6], (32.0, 32.0), *unseen[7:]]
    joints = to_openpose(one)
    assert [joint for joint in joints if joint] == [(32.0, 32.0)]
    drawn = np.array(draw_skeleton(joints, (64, 64)))
    assert {tuple(color) for color in drawn.reshape(-1, 3)} == {(0, 0, 0), COLORS[2]}


def test_joints_lie_where_the_network_sees_them(
    mappers: dict[Architecture, Mapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heatmaps set by hand: shoulders at the left and right of the middle of the picture."""
    mapper = mappers[Architecture.VITPOSE]
    assert isinstance(mapper, PoseMapper)
    heat = torch.zeros(1, 17, 16, 12)
    for joint, column in ((5, 8), (6, 3)):
        heat[0, joint, 8, column] = 1.0
    real = mapper._network.forward

    def seen(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - of transformers
        found = real(*given, **named)
        assert found.heatmaps.shape == heat.shape
        found.heatmaps = heat
        return found

    monkeypatch.setattr(mapper._network, "forward", seen)
    drawn = mapper.make(noise(96, 128))
    right, left = ((drawn == COLORS[number]).all(axis=2) for number in (2, 5))
    middle = [float(np.argwhere(each)[:, 1].mean()) for each in (right, left)]
    rows = [float(np.argwhere(each)[:, 0].mean()) for each in (right, left)]
    assert middle[0] < 44 < 52 < middle[1]
    assert all(60 < row < 80 for row in rows)
    assert not drawn[:40].any()


@pytest.mark.parametrize("architecture", list(MAPPED))
def test_the_same_picture_gives_the_same_map_and_a_stop_comes_first(
    mappers: dict[Architecture, Mapper], architecture: Architecture
) -> None:
    mapper, steps = mappers[architecture], []
    watch = Watch(step=lambda done, of, _peek: steps.append((done, of)))
    first, again = mapper.make(noise(64, 96), watch=watch), mapper.make(noise(64, 96))
    assert np.array_equal(first, again)
    assert steps == [(1, 1)]

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        mapper.make(noise(64, 64), watch=Watch(check=stop))


def test_half_precision_is_nearly_the_same(
    folders: dict[Architecture, Path], mappers: dict[Architecture, Mapper], engine: Engine
) -> None:
    folder = folders[Architecture.DPT]
    half = load_mapper(Architecture.DPT, folder, engine, is_half=True)
    assert half.is_half
    assert half.weights_bytes < mappers[Architecture.DPT].weights_bytes
    picture = noise(64, 64)
    made, whole = half.make(picture), mappers[Architecture.DPT].make(picture)
    assert np.abs(made.astype(int) - whole.astype(int)).mean() < 8


def test_weights_that_lack_something_are_not_run_with_random_numbers(
    folders: dict[Architecture, Path], engine: Engine, tmp_path: Path
) -> None:
    folder = save_mapper(tmp_path / "broken", Architecture.DPT)
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[3]
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="another network"):
        load_mapper(Architecture.DPT, folder, engine)
    # nor is one network taken for another
    with pytest.raises(ValueError, match="another network"):
        load_mapper(Architecture.DEPTH_ANYTHING, folders[Architecture.DPT], engine)


def test_only_known_networks_are_loaded(folders: dict[Architecture, Path]) -> None:
    config = json.loads((folders[Architecture.DPT] / "config.json").read_text())
    assert architecture_of(config) is Architecture.DPT
    for changes, text in (
        ({"model_type": "zoedepth"}, "known map makers are: depth_anything, dpt, vitpose"),
        ({"model_type": "sd15"}, "known map makers"),
        ({"architectures": ["DPTForSemanticSegmentation"]}, "DPTForDepthEstimation"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "nothing is fetched or run"),
        ({"backbone": "someone/backbone"}, "nothing is fetched"),
        ({"backbone_config": {"model_type": "timm_backbone"}}, "not known to have"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 1e"),
        ({"patch_size": 1}, "patch_size 1; from 8"),
        ({"patch_size": [16, 1]}, "patch_size 1; from 8"),
        ({"reassemble_factors": [4, 1e6]}, "reassemble_factors"),
        ({"neck_hidden_sizes": [8] * 2_000}, "lists 2000"),
        ({"hidden_size": 10**6}, "hidden_size"),
        ({"backbone_config": {"model_type": "bit", "depths": [3, 10**6]}}, "depths"),
        ({"backbone_config": {"model_type": "bit", "auto_map": {"x": "y"}}}, "nothing is fetched"),
    ):
        with pytest.raises(ValueError, match=text):
            architecture_of({**config, **changes})
    assert read_side({"size": 384}, Architecture.DPT) == (384, 384)
    assert read_side({}, Architecture.DEPTH_ANYTHING) == (518, 518)
    for size in (4096, {"width": 384}, {"width": True, "height": 384}, "384", {"shortest_edge": 1}):
        with pytest.raises(ValueError, match="must say size"):
            read_side({"size": size}, Architecture.DPT)
    for odd in (
        *({"do_resize": False}, {"do_pad": True}, {"do_center_crop": True}),
        *({"ensure_multiple_of": 10**6}, {"ensure_multiple_of": None}),
    ):
        with pytest.raises(ValueError, match=r"preprocessor_config\.json"):
            read_side(odd, Architecture.DPT)
    for folder in folders.values():
        published = json.loads((folder / "preprocessor_config.json").read_text())
        assert max(read_side(published, Architecture.DPT)) <= 64
    joints = {"model_type": "vitpose"}
    with pytest.raises(ValueError, match="133 joints"):
        check_shapes({"head.conv.weight": (133, 256, 1, 1)}, joints)
    with pytest.raises(ValueError, match=r"head\.conv3\.weight"):
        check_shapes({}, {"model_type": "depth_anything"})
    # What is no word, no number that there is, or nested without end has a sentence, too
    dinov2 = {"model_type": "dinov2"}
    stranger: tuple[dict[str, Any], ...] = (
        {"backbone_config": {"model_type": []}},
        {"backbone_config": [1]},
        {"fusion_hidden_size": 10**400},
        {"hidden_size": [[8]]},
        {"hidden_size": math.nan},
        {"is_hybrid": "yes"},
        {"hidden_act": ["gelu"]},
        {"hidden_act": "evil/kernel"},
        {"model_type": nested(100_000)},
        {"neck_hidden_sizes": nested(100_000)},
        {"backbone_config": {**dinov2, "out_features": ["__import__"]}},
    )
    for strange in stranger:
        with pytest.raises(ValueError, match=r"config\.json"):
            clean_config({**config, **strange})
    assert clean_config({**config, "unheard_of": nested(100_000)}) == clean_config(config)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


DEPTH_SMALL = {
    "model_type": "depth_anything", "architectures": ["DepthAnythingForDepthEstimation"],
    "_commit_hash": None, "backbone": None, "backbone_config": {
        "architectures": ["Dinov2Model"], "hidden_size": 384, "image_size": 518,
        "model_type": "dinov2", "num_attention_heads": 6, "out_indices": [9, 10, 11, 12],
        "out_features": ["stage9", "stage10", "stage11", "stage12"], "patch_size": 14,
        "reshape_hidden_states": False, "torch_dtype": "float32",
    },
    "depth_estimation_type": "relative", "fusion_hidden_size": 64, "head_hidden_size": 32,
    "head_in_index": -1, "initializer_range": 0.02, "max_depth": None,
    "neck_hidden_sizes": [48, 96, 192, 384], "patch_size": 14,
    "reassemble_factors": [4, 2, 1, 0.5], "reassemble_hidden_size": 384,
    "torch_dtype": "float32", "transformers_version": None, "use_pretrained_backbone": False,
}  # fmt: skip
DEPTH_BASE = {
    **DEPTH_SMALL, "fusion_hidden_size": 128, "neck_hidden_sizes": [96, 192, 384, 768],
    "reassemble_hidden_size": 768, "backbone_config": {
        **DEPTH_SMALL["backbone_config"], "hidden_size": 768, "num_attention_heads": 12,  # type: ignore[dict-item] # a part of the above
    },
}  # fmt: skip
DEPTH_LARGE = {
    **DEPTH_SMALL, "fusion_hidden_size": 256, "neck_hidden_sizes": [256, 512, 1024, 1024],
    "reassemble_hidden_size": 1024, "backbone_config": {
        **DEPTH_SMALL["backbone_config"], "hidden_size": 1024, "num_attention_heads": 16,  # type: ignore[dict-item] # as above
        "num_hidden_layers": 24, "out_indices": [5, 12, 18, 24],
        "out_features": ["stage5", "stage12", "stage18", "stage24"],
    },
}  # fmt: skip
DPT_LARGE = {
    "model_type": "dpt", "architectures": ["DPTForDepthEstimation"], "hidden_size": 1024,
    "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
    "backbone_out_indices": [5, 11, 17, 23], "neck_hidden_sizes": [256, 512, 1024, 1024],
    "expand_channels": False, "fusion_hidden_size": 256, "head_in_index": -1,
    "hidden_act": "gelu", "image_size": 384, "patch_size": 16, "num_channels": 3,
    "layer_norm_eps": 1e-12, "qkv_bias": True, "readout_type": "project",
    "reassemble_factors": [4, 2, 1, 0.5], "use_auxiliary_head": True,
    "use_batch_norm_in_fusion_residual": False, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
DPT_HYBRID = {
    "model_type": "dpt", "architectures": ["DPTForDepthEstimation"], "is_hybrid": True,
    "backbone_config": {
        "depths": [3, 4, 9], "embedding_dynamic_padding": True, "global_padding": "same",
        "layer_type": "bottleneck", "out_features": ["stage1", "stage2", "stage3"],
    },
    "backbone_featmap_shape": [1, 1024, 24, 24], "backbone_out_indices": [2, 5, 8, 11],
    "hidden_size": 768, "intermediate_size": 3072, "neck_hidden_sizes": [256, 512, 768, 768],
    "neck_ignore_stages": [0, 1], "image_size": 384, "patch_size": 16, "readout_type": "project",
    "num_hidden_layers": 12, "num_attention_heads": 12, "reassemble_factors": [1, 1, 1, 0.5],
}  # fmt: skip
JOINT_NAMES = {str(number): f"Joint {number}" for number in range(17)}
POSE = {
    "model_type": "vitpose", "architectures": ["VitPoseForPoseEstimation"],
    "backbone_config": {
        "hidden_size": 768, "image_size": [256, 192], "intermediate_size": 3072,
        "model_type": "vitpose_backbone", "num_attention_heads": 12, "num_hidden_layers": 12,
        "out_features": ["stage12"], "out_indices": [12], "part_features": 0,
    },
    "edges": [[15, 13], [13, 11]], "id2label": JOINT_NAMES, "scale_factor": 4,
    "label2id": {name: int(number) for number, name in JOINT_NAMES.items()},
    "use_simple_decoder": False,
}  # fmt: skip
POSE_SIMPLE = {**POSE, "use_simple_decoder": True}
POSE_PLUS = {
    **POSE, "backbone_config": {
        **POSE["backbone_config"], "num_experts": 6, "part_features": 192,  # type: ignore[dict-item] # as above
    },
}  # fmt: skip
PUBLISHED = (
    *(DEPTH_SMALL, DEPTH_BASE, DEPTH_LARGE, DPT_LARGE, DPT_HYBRID),
    *(POSE, POSE_SIMPLE, POSE_PLUS),
)
EVIL = {
    "attn_implementation": "evil/kernel",
    "_attn_implementation": "evil/kernel",
    "experts_implementation": "evil/kernel",
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "dtype": "evil",
}


@pytest.mark.parametrize("config", PUBLISHED)
def test_published_networks_are_built_as_their_whole_configs_say(config: dict[str, Any]) -> None:
    import transformers

    made_by = getattr(transformers, config["architectures"][0])
    clean = clean_config(config)
    with torch.device("meta"):
        theirs, ours = (
            made_by(made_by.config_class.from_dict(json.loads(json.dumps(each))))
            for each in (config, clean)
        )
    shapes = _shapes_as_published(theirs)
    assert _shapes_as_published(ours) == shapes
    assert str(theirs) == str(ours)  # activations and strides, too
    check_shapes(shapes, clean)
    check_whole(shapes, _shapes_as_published(ours))
    bare = {name: s for name, s in shapes.items() if not name.startswith(UNUSED)}
    check_shapes(bare, clean)  # as DPTs are published
    check_whole(bare, shapes)
    # One layer more, or all of them larger, is no network of these weights
    for changes in ({"num_hidden_layers": 64}, {"hidden_size": 4_096}):
        inner = clean.get("backbone_config")
        is_inner = isinstance(inner, dict) and not clean.get("is_hybrid")
        more = {"backbone_config": {**inner, **changes}} if is_inner else changes  # type: ignore[dict-item] # a dict then
        with pytest.raises(ValueError, match=r"layers, not the 64|numbers, and the network"):
            check_shapes(shapes, {**clean, **more})
    # What would have code loaded is not there to be read
    evil = {**config, **EVIL}
    if "backbone_config" in config:
        evil["backbone_config"] = {**config["backbone_config"], **EVIL}
    assert clean_config(evil) == clean


@pytest.mark.parametrize("architecture", list(MAPPED))
def test_what_a_config_says_of_code_does_not_reach_transformers(
    mappers: dict[Architecture, Mapper], engine: Engine, tmp_path: Path, architecture: Architecture
) -> None:
    folder = save_mapper(tmp_path / "evil", architecture)
    config = json.loads((folder / "config.json").read_text())
    inner = config.get("backbone_config")
    more = {"backbone_config": {**inner, **EVIL}} if inner else {}
    (folder / "config.json").write_text(json.dumps({**config, **EVIL, **more}))
    prepared = json.loads((folder / "preprocessor_config.json").read_text())
    odd = {"auto_map": {"AutoImageProcessor": "evil.Code"}, "device": "evil", "size_divisor": 4_000}
    (folder / "preprocessor_config.json").write_text(json.dumps({**prepared, **odd}))
    # nor does what else lies there
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/x"}))
    made = load_mapper(architecture, folder, engine).make(noise(64, 96))
    assert np.array_equal(made, mappers[architecture].make(noise(64, 96)))


@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 64, "hidden_size": 16_384}, {"image_size": 1_024}]
)
def test_a_small_file_that_asks_for_much_is_refused_before_anything_is_built(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int]
) -> None:
    import transformers

    folder = save_mapper(tmp_path / "large", Architecture.DEPTH_ANYTHING)
    config = json.loads((folder / "config.json").read_text())
    config["backbone_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))

    def built(*_given: object, **_named: object) -> None:
        pytest.fail("memory was taken for it")

    monkeypatch.setattr(transformers.DepthAnythingForDepthEstimation, "from_pretrained", built)
    with pytest.raises(ValueError, match=r"layers, not the 64|numbers, and the network|another"):
        load_mapper(Architecture.DEPTH_ANYTHING, folder, engine)


def test_what_published_weights_lack_is_never_asked_for(
    mappers: dict[Architecture, Mapper], engine: Engine, tmp_path: Path
) -> None:
    folder = save_mapper(tmp_path / "published", Architecture.DPT)
    weights = load_file(folder / "model.safetensors")
    unused = [name for name in weights if name.startswith(UNUSED)]
    assert len(unused) == 4
    for name in unused:
        del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made = load_mapper(Architecture.DPT, folder, engine).make(noise(64, 96))
    assert np.array_equal(made, mappers[Architecture.DPT].make(noise(64, 96)))


def test_a_recipe_for_a_map_holds_only_what_counts() -> None:
    raw = {"map_kind": "depth", "image": DIGEST, "model": DIGEST, "width": 256, "seed": 4}
    recipe = parse_recipe({**raw, "prompt": "a note", "num_inference_steps": 30})
    assert recipe.model_kind is AssetKind.MAPPER
    assert not recipe.is_drawn
    said = recipe.to_wire()
    assert set(said) == {"version", "model", "prompt", "image", "width", "height", "map_kind"}
    assert (said["width"], said["height"]) == (256, 512)
    assert parse_recipe(said) == recipe
    for changes, code in (
        ({"map_kind": "canny"}, "unknown_kind"),
        ({"image": None}, "needs_image"),
        ({"mask": DIGEST}, "not_with_map"),
        ({"width": 9000}, "out_of_range"),
        ({"model": ""}, "unknown_model"),
        ({"scale": 2}, "not_with_scale"),
        ({"cutout": True}, "not_with_cutout"),
    ):
        with pytest.raises(RecipeInvalidError) as raised:
            parse_recipe({**raw, **changes})
        assert code in [problem.code for problem in raised.value.problems]


def test_a_mapper_is_kept_only_where_it_makes_a_map() -> None:
    plain = {"prompt": "x", "model": DIGEST}
    use = {"kind": "depth", "model": DIGEST, "mapper": "b" * 64}
    made = parse_recipe({**plain, "controls": [{**use, "image": DIGEST}]})
    assert made.controls[0].mapper == "b" * 64
    assert made.adapters == (DIGEST, "b" * 64)
    for other in ({**use, "map": DIGEST}, {**use, "kind": "canny", "image": DIGEST}):
        left = parse_recipe({**plain, "controls": [other]})
        assert left.controls[0].mapper is None
        assert left.adapters == (DIGEST,)
    # An older recipe is written as it was
    assert "mapper" not in json.dumps(left.to_wire())
    assert "map_kind" not in left.to_wire()


def test_memory_grows_with_the_network_and_the_map() -> None:
    small = parse_recipe({"map_kind": "depth", "image": DIGEST, "model": DIGEST})
    large = replace(small, width=2048, height=2048)
    assert mapping_bytes(0) < mapping_bytes(1279 * MIB)
    assert mapping_bytes(1279 * MIB) > 1120 * MIB  # measured
    assert mapping_bytes(95 * MIB) > 424 * MIB
    first, second = (estimate_map(each, weights_bytes=100) for each in (small, large))
    assert first.total_bytes < second.total_bytes
    for memory, verdict in ((first.total_bytes, Verdict.HERE), (1, Verdict.NOWHERE)):
        plan = plan_map(small, weights_bytes=100, memory_bytes=memory, has_own_memory=False)
        assert plan.verdict is verdict
    # A control whose map a network makes needs room for that before it draws
    use = {"kind": "depth", "model": DIGEST, "image": DIGEST}
    raw = {"prompt": "x", "model": DIGEST, "width": 64, "height": 64}
    needed = [
        estimate(parse_recipe({**raw, "controls": [each]}), weights_bytes=1).total_bytes
        for each in (use, {**use, "mapper": DIGEST})
    ]
    assert needed[1] >= mapping_bytes(0) > needed[0] - OVERHEAD_BYTES


EDGES = model_ref(ADAPTERS / "canny", name="Edges", kind=AssetKind.CONTROLNET)
PICTURE = png(noise(160, 128))
SHA256 = hashlib.sha256(PICTURE).hexdigest()


@pytest.fixture(scope="module")
def refs(folders: dict[Architecture, Path]) -> dict[Architecture, ModelRef]:
    return {
        each: model_ref(folder, name=f"My {each}", architecture=each, kind=AssetKind.MAPPER)
        for each, folder in folders.items()
    }


@pytest.fixture
def agent(
    studio: FakeStudio, valkey: Valkey, house_ref: ModelRef, tmp_path: Path
) -> Iterator[AgentProcess]:
    studio.preload = (house_ref,)
    process = AgentProcess(
        tmp_path, studio, valkey, STUDIO_AGENT_MEMORY_BYTES=str(OVERHEAD_BYTES + 600 * MIB)
    )
    wait_until(
        lambda: studio.heartbeats and studio.heartbeats[-1]["ready"], seconds=60, what="readiness"
    )
    yield process
    process.close()


def opened(attempt: Attempt, store: Path) -> tuple[np.ndarray[Any, Any], dict[str, Any], str]:
    with Image.open(io.BytesIO(attempt.open_file(store, 0, FileKind.PICTURE))) as picture:
        manifest, text = json.loads(picture.info[PNG_KEY]), picture.info[INFOTEXT_KEY]
        return np.array(picture.convert("RGB")), manifest, text


def test_a_map_made_by_itself_guides_as_one_that_is_made_on_the_way(
    agent: AgentProcess,
    studio: FakeStudio,
    store: Path,
    house_ref: ModelRef,
    refs: dict[Architecture, ModelRef],
    mappers: dict[Architecture, Mapper],
) -> None:
    depth = refs[Architecture.DPT]
    # When a map is a job of its own
    asked = {"map_kind": "depth", "width": 128, "height": 128}
    alone = studio.add_attempt(depth, asked, source=PICTURE)
    assert agent.run(alone)["status"] == "succeeded"
    pixels, manifest, text = opened(alone, store)
    # Then it is the map of the picture at that size, and says by what it was made
    assert pixels.shape == (128, 128, 3)
    assert manifest["recipe"]["map_kind"] == "depth"
    assert "Postprocess map: depth by My dpt" in text
    # When it guides, ready or made on the way
    drawing = {"prompt": "photo of a red mug on a beach", "seed": 3, "num_inference_steps": 3}
    ready = png(Image.fromarray(pixels))
    net = {"kind": "depth", "model": EDGES.digest}
    ways = (
        ({**net, "map": hashlib.sha256(ready).hexdigest()}, ready, (EDGES,)),
        ({**net, "image": SHA256, "mapper": depth.digest}, PICTURE, (EDGES, depth)),
        ({**net, "image": SHA256, "mapper": depth.digest}, PICTURE, (EDGES, depth)),
    )
    attempts = [
        studio.add_attempt(
            house_ref, {**drawing, "controls": [use]}, adapters=adapters, pictures=(given,)
        )
        for use, given, adapters in ways
    ]
    for attempt in attempts:
        assert agent.run(attempt)["status"] == "succeeded"
    made = [opened(attempt, store) for attempt in attempts]
    # Then the pictures are the same, and so are the bytes of the same again
    assert np.array_equal(made[0][0], made[1][0])
    files = [attempt.open_file(store, 0, FileKind.PICTURE) for attempt in attempts]
    assert files[1] == files[2]
    # and the manifest names what made the map
    assert [each["kind"] for each in made[1][1]["adapters"]] == ["controlnet", "mapper"]


def test_a_map_maker_of_another_kind_is_refused(
    agent: AgentProcess,
    studio: FakeStudio,
    house_ref: ModelRef,
    refs: dict[Architecture, ModelRef],
) -> None:
    pose, depth = refs[Architecture.VITPOSE], refs[Architecture.DPT]
    use = {"kind": "depth", "model": EDGES.digest, "image": SHA256, "mapper": pose.digest}
    drawing = {"prompt": "a mug", "num_inference_steps": 1, "controls": [use]}
    wrong = studio.add_attempt(house_ref, drawing, adapters=(EDGES, pose), pictures=(PICTURE,))
    assert agent.run(wrong)["error"]["code"] == "adapter.unfit"
    absent = studio.add_attempt(house_ref, drawing, adapters=(EDGES, depth), pictures=(PICTURE,))
    assert agent.run(absent)["error"]["code"] == "adapter.missing"
    other = studio.add_attempt(pose, {"map_kind": "depth"}, source=PICTURE)
    assert agent.run(other)["error"]["code"] == "recipe.invalid"
    right = studio.add_attempt(pose, {"map_kind": "openpose"}, source=PICTURE)
    assert agent.run(right)["status"] == "succeeded"


def test_recipes_know_both_kinds_of_maps() -> None:
    assert {MAPPED[each] for each in MAPPED} == {ControlKind.DEPTH, ControlKind.OPENPOSE}
    assert Recipe(model=DIGEST, prompt="").map_kind is None
