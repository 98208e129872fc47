"""Preview frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuagent.protocol.frames import (
    FRAME_VERSION,
    ID_BYTES,
    PREVIEW_MAX_BYTES,
    FrameInvalidError,
    PreviewFrame,
)

SUBJECT = "att_01J00000000000000000000000"


@given(st.integers(0, 255), st.binary(min_size=1, max_size=2000))
def test_frame_survives_the_wire(index: int, payload: bytes) -> None:
    frame = PreviewFrame(subject_id=SUBJECT, index=index, payload=payload)
    assert PreviewFrame.decode(frame.encode()) == frame


def test_frame_has_the_layout_that_browsers_read() -> None:
    data = PreviewFrame(subject_id=SUBJECT, index=3, payload=b"webp").encode()
    assert data == bytes((FRAME_VERSION, 3)) + SUBJECT.encode() + b"webp"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes((FRAME_VERSION, 0)) + SUBJECT.encode(),
        bytes((2, 0)) + SUBJECT.encode() + b"x",
        bytes((FRAME_VERSION, 0)) + b"\xff" * ID_BYTES + b"x",
        bytes((FRAME_VERSION, 0)) + SUBJECT.encode() + bytes(PREVIEW_MAX_BYTES + 257),
    ],
    ids=["empty", "no payload", "other version", "id not ASCII", "too long"],
)
def test_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameInvalidError):
        PreviewFrame.decode(data)


def test_frame_of_a_wrong_id_is_not_written() -> None:
    with pytest.raises(FrameInvalidError):
        PreviewFrame(subject_id="att_short", index=0, payload=b"x").encode()


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        frame = PreviewFrame.decode(data)
    except FrameInvalidError:
        return
    assert frame.encode() == data
