"""Sealed envelopes: they open as what they were sealed as, whole and in order, or not at all."""

from __future__ import annotations

import io

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpuagent.protocol.sealing import (
    HEADER,
    SEGMENT_BYTES,
    TAG_BYTES,
    Context,
    SealBrokenError,
    new_key,
    open_range,
    open_sealed,
    plain_size,
    seal,
    unwrap_key,
    wrap_key,
)

KEY = bytes(range(32))
CONTEXT = Context(organization="org_1", object_id="art_1", kind="picture")

plaintexts = st.binary(max_size=400)
segments = st.integers(1, 64)


def sealed_with(plain: bytes, segment: int) -> bytes:
    return seal(plain, key=KEY, context=CONTEXT, segment_bytes=segment)


@given(plaintexts, segments)
def test_envelope_opens_to_what_was_sealed(plain: bytes, segment: int) -> None:
    envelope = sealed_with(plain, segment)
    assert open_sealed(envelope, key=KEY, context=CONTEXT) == plain
    assert plain_size(len(envelope), segment_bytes=segment) == len(plain)


@given(plaintexts, segments, st.data())
def test_envelope_that_is_cut_does_not_open(
    plain: bytes, segment: int, data: st.DataObject
) -> None:
    envelope = sealed_with(plain, segment)
    kept = data.draw(st.integers(0, len(envelope) - 1))
    with pytest.raises(SealBrokenError):
        open_sealed(envelope[:kept], key=KEY, context=CONTEXT)


@given(plaintexts, segments, st.binary(min_size=1, max_size=40))
def test_envelope_with_something_behind_does_not_open(
    plain: bytes, segment: int, tail: bytes
) -> None:
    with pytest.raises(SealBrokenError):
        open_sealed(sealed_with(plain, segment) + tail, key=KEY, context=CONTEXT)


@given(plaintexts, segments, st.data())
def test_envelope_with_a_flipped_bit_does_not_open(
    plain: bytes, segment: int, data: st.DataObject
) -> None:
    envelope = bytearray(sealed_with(plain, segment))
    bit = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBrokenError):
        open_sealed(bytes(envelope), key=KEY, context=CONTEXT)


@given(st.binary(min_size=9, max_size=400), st.integers(1, 8), st.data())
def test_segments_cannot_change_places(plain: bytes, segment: int, data: st.DataObject) -> None:
    envelope = sealed_with(plain, segment)
    stride = segment + TAG_BYTES
    body = envelope[HEADER.size :]
    parts = [body[i : i + stride] for i in range(0, len(body), stride)]
    order = data.draw(st.permutations(range(len(parts))))
    assume([parts[i] for i in order] != parts)
    with pytest.raises(SealBrokenError):
        open_sealed(
            envelope[: HEADER.size] + b"".join(parts[i] for i in order), key=KEY, context=CONTEXT
        )


@given(st.binary(min_size=3, max_size=100))
def test_segments_cannot_be_dropped_or_repeated(plain: bytes) -> None:
    envelope = sealed_with(plain, 1)
    head, body, stride = envelope[: HEADER.size], envelope[HEADER.size :], 1 + TAG_BYTES
    for forged in (body[:-stride], body[stride:], body[:stride] + body):
        with pytest.raises(SealBrokenError):
            open_sealed(head + forged, key=KEY, context=CONTEXT)


@pytest.mark.parametrize(
    "other",
    [
        Context(organization="org_2", object_id="art_1", kind="picture"),
        Context(organization="org_1", object_id="art_2", kind="picture"),
        Context(organization="org_1", object_id="art_1", kind="thumbnail"),
        Context(organization="org_1", object_id="art_1", kind="picture", version=2),
        Context(organization="org_1a", object_id="rt_1", kind="picture"),
    ],
)
def test_envelope_does_not_open_as_something_else(other: Context) -> None:
    with pytest.raises(SealBrokenError):
        open_sealed(sealed_with(b"plain", 64), key=KEY, context=other)


def test_envelope_does_not_open_with_another_key() -> None:
    with pytest.raises(SealBrokenError):
        open_sealed(sealed_with(b"plain", 64), key=new_key(), context=CONTEXT)


@given(st.text(), st.text(), st.text(), st.text())
def test_contexts_never_read_the_same(a: str, b: str, c: str, d: str) -> None:
    assume((a, b) != (c, d))
    first = Context(organization=a, object_id=b, kind="k")
    second = Context(organization=c, object_id=d, kind="k")
    assert first.to_bytes() != second.to_bytes()


@given(plaintexts, segments, st.data())
def test_range_is_the_same_as_a_slice(plain: bytes, segment: int, data: st.DataObject) -> None:
    envelope = sealed_with(plain, segment)
    start = data.draw(st.integers(0, len(plain)))
    stop = data.draw(st.integers(start, len(plain)))
    parts = open_range(
        io.BytesIO(envelope),
        sealed_bytes=len(envelope),
        start=start,
        stop=stop,
        key=KEY,
        context=CONTEXT,
    )
    assert b"".join(parts) == plain[start:stop]


@settings(max_examples=30)
@given(st.binary(min_size=20, max_size=100), st.data())
def test_range_over_a_flipped_bit_fails(plain: bytes, data: st.DataObject) -> None:
    envelope = bytearray(sealed_with(plain, 16))
    place = data.draw(st.integers(HEADER.size, len(envelope) - 1))
    envelope[place] ^= 1
    with pytest.raises(SealBrokenError):
        list(
            open_range(
                io.BytesIO(bytes(envelope)),
                sealed_bytes=len(envelope),
                start=0,
                stop=len(plain),
                key=KEY,
                context=CONTEXT,
            )
        )


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 6), (6, 6)])
def test_range_outside_is_refused(start: int, stop: int) -> None:
    envelope = sealed_with(b"plain", 2)
    with pytest.raises(ValueError, match="outside"):
        list(
            open_range(
                io.BytesIO(envelope),
                sealed_bytes=len(envelope),
                start=start,
                stop=stop,
                key=KEY,
                context=CONTEXT,
            )
        )


@pytest.mark.parametrize("size", [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1])
def test_envelope_of_real_segments_opens_at_every_edge(size: int) -> None:
    plain = bytes(size)
    assert open_sealed(seal(plain, key=KEY, context=CONTEXT), key=KEY, context=CONTEXT) == plain


def test_same_bytes_under_fresh_keys_look_different() -> None:
    first = seal(b"same", key=new_key(), context=CONTEXT)
    assert first != seal(b"same", key=new_key(), context=CONTEXT)


def test_wrapped_key_comes_back_only_under_the_same_wrapping_key() -> None:
    key, wrapping = new_key(), new_key()
    wrapped = wrap_key(key, wrapping_key=wrapping)
    assert len(wrapped) == 40
    assert unwrap_key(wrapped, wrapping_key=wrapping) == key
    with pytest.raises(SealBrokenError):
        unwrap_key(wrapped, wrapping_key=new_key())
    with pytest.raises(SealBrokenError):
        unwrap_key(wrapped[:-1], wrapping_key=wrapping)
