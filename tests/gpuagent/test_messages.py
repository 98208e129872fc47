"""The wire: one golden file per message. `STUDIO_WRITE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gpuagent.protocol.failures import RETRYABLE, FailureCode
from gpuagent.protocol.messages import (
    Assignment,
    AttemptCancel,
    AttemptError,
    AttemptFinish,
    AttemptProgress,
    AttemptStarted,
    AttemptYield,
    Claim,
    Heartbeat,
    HeartbeatReply,
    HeldAttempt,
    InputRef,
    Join,
    Joined,
    Message,
    ModelFileRef,
    ModelRef,
    OutputCommit,
    QueueAccess,
    Register,
    StoredFile,
    UploadTarget,
)
from gpuagent.protocol.taxonomy import Architecture, AssetKind, FileKind
from gpuagent.protocol.wire import MessageInvalidError, from_wire

GOLDEN = Path(__file__).resolve().parents[1] / "wire" / "golden"
ATTEMPT = "att_01J00000000000000000000000"
ARTIFACT = "art_01J00000000000000000000000"
MODEL = ModelRef(
    version_id="ver_01J00000000000000000000000",
    name="House",
    digest="a" * 64,
    architecture=Architecture.SD15,
    kind=AssetKind.CHECKPOINT,
    files=(
        ModelFileRef(path="unet/config.json", sha256="b" * 64, size_bytes=12, url="file:///m/b"),
    ),
)
MESSAGES: tuple[Message, ...] = (
    Assignment(
        attempt_id=ATTEMPT,
        job_id="job_01J00000000000000000000000",
        organization="org_01J00000000000000000000000",
        fence=2,
        recipe={"version": 1, "model": "a" * 64, "prompt": "a mug"},
        model=MODEL,
        targets=(
            UploadTarget(
                index=0,
                kind=FileKind.PICTURE,
                artifact_id=ARTIFACT,
                url="file:///store/x",
                data_key="AAEC",
            ),
        ),
        preview_key="AAEC",
        inputs=(
            InputRef(
                sha256="c" * 64,
                artifact_id=ARTIFACT,
                url="/agent/v1/inputs/x",
                data_key="AAEC",
            ),
        ),
        adapters=(
            ModelRef(
                version_id="ver_01J00000000000000000000001",
                name="Teal",
                digest="e" * 64,
                architecture=Architecture.SD15,
                kind=AssetKind.EMBEDDING,
                files=(
                    ModelFileRef(
                        path="embedding.safetensors",
                        sha256="f" * 64,
                        size_bytes=12,
                        url="file:///m/f",
                    ),
                ),
                trigger_words=("<teal>",),
            ),
        ),
        done=(1,),
    ),
    Claim(fence=2, boot_id="boot"),
    AttemptStarted(attempt_id=ATTEMPT, fence=2, seq=1),
    AttemptProgress(attempt_id=ATTEMPT, fence=2, seq=2, index=0, count=4, step=7, steps=20),
    AttemptCancel(attempt_id=ATTEMPT),
    AttemptYield(attempt_id=ATTEMPT),
    OutputCommit(
        fence=2,
        index=0,
        manifest={"version": 1},
        files=(
            StoredFile(
                artifact_id=ARTIFACT,
                kind=FileKind.THUMBNAIL,
                sha256="d" * 64,
                size_bytes=100,
                sealed_bytes=125,
                media_type="image/webp",
                width=128,
                height=96,
            ),
        ),
    ),
    AttemptFinish(
        fence=2,
        status="failed",
        error=AttemptError(code="gpu.out_of_memory", data={"needed_bytes": 3}),
        timings={"total": 0.5},
    ),
    Join(name="gpu-7", device="cuda:H200", labels=("large",)),
    Joined(
        agent_id="agt_01J00000000000000000000000",
        name="gpu-7",
        token="sta_x",
        namespace="agent:agt_01J00000000000000000000000",
        redis_url="redis://127.0.0.1:6379/0",
    ),
    QueueAccess(redis_url="redis://agt_1:x@127.0.0.1:6379/0"),
    Register(
        boot_id="boot",
        fingerprint={"torch": "2"},
        device="cpu:AVX2",
        memory_bytes=1,
        gpu_class="cpu",
        labels=("large",),
    ),
    Heartbeat(
        boot_id="boot",
        ready=True,
        warm=("a" * 64,),
        attempts=(HeldAttempt(attempt_id=ATTEMPT, fence=2),),
        telemetry={
            "temperature_c": 61.0,
            "power_w": 250.0,
            "utilization": 0.9,
            "memory_used_bytes": 1,
            "throttled": ["power"],
        },
        residents=({"digest": "a" * 64, "component": "unet", "bytes": 1, "place": "gpu"},),
    ),
    HeartbeatReply(known=True, lost=(ATTEMPT,), cancel=(), yields=(ATTEMPT,), preload=(MODEL,)),
)
BY_TYPE = {message.type: message for message in MESSAGES}


def all_message_types() -> set[str]:
    return {kind.type for kind in Message.__subclasses__()}


def test_every_message_has_a_golden_file() -> None:
    if os.environ.get("STUDIO_WRITE_GOLDEN"):
        for message in MESSAGES:
            text = json.dumps(message.to_wire(), indent=2, sort_keys=True) + "\n"
            (GOLDEN / f"{message.type}.json").write_text(text)
    assert set(BY_TYPE) == all_message_types()
    assert {p.stem for p in GOLDEN.glob("*.json")} >= set(BY_TYPE)


@pytest.mark.parametrize("tag", sorted(BY_TYPE))
def test_message_reads_and_writes_its_golden_file(tag: str) -> None:
    golden = json.loads((GOLDEN / f"{tag}.json").read_text())
    message = BY_TYPE[tag]
    assert json.loads(json.dumps(message.to_wire())) == golden
    assert from_wire(type(message), golden) == message


@pytest.mark.parametrize("tag", sorted(BY_TYPE))
def test_message_with_a_key_too_many_is_refused(tag: str) -> None:
    wire: dict[str, Any] = json.loads(json.dumps(BY_TYPE[tag].to_wire()))
    with pytest.raises(MessageInvalidError, match="unknown key"):
        from_wire(type(BY_TYPE[tag]), {**wire, "surprise": 1})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fence": "2"}, "fence"),
        ({"fence": True}, "fence"),
        ({"fence": None}, "fence"),
        ({"attempt_id": 5}, "attempt_id"),
        ({"recipe": []}, "recipe"),
        ({"targets": "none"}, "targets"),
        ({"done": ["1"]}, "done"),
        ({"model": None}, "ModelRef"),
    ],
)
def test_mistyped_assignment_is_refused(change: dict[str, Any], named: str) -> None:
    wire = {**BY_TYPE["assignment"].to_wire(), **change}
    with pytest.raises(MessageInvalidError, match=named):
        from_wire(Assignment, wire)


def test_missing_key_is_named() -> None:
    with pytest.raises(MessageInvalidError, match="boot_id"):
        from_wire(Claim, {"fence": 1})


def test_unknown_kind_of_a_list_is_refused() -> None:
    wire = json.loads(json.dumps(BY_TYPE["assignment"].to_wire()))
    wire["model"]["architecture"] = "sd99"
    with pytest.raises(MessageInvalidError, match="architecture"):
        from_wire(Assignment, wire)


def test_retryable_failures_are_failures() -> None:
    assert frozenset(FailureCode) > RETRYABLE
    assert FailureCode.DOES_NOT_FIT not in RETRYABLE
    assert FailureCode.RECIPE_INVALID not in RETRYABLE
