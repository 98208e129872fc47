"""Whatever somebody does to stored bytes: what comes out is what went in, or SealBrokenError.

Every way of reading is tried: the whole envelope, and ranges of a source that can be sought.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from typing_extensions import Buffer, override

from gpuagent.protocol.sealing import (
    HEADER,
    MAGIC,
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

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
CONTEXT = Context(organization="org_1", object_id="art_1", kind="picture")


@dataclass(frozen=True)
class Sealed:
    """An envelope and what is in it."""

    plain: bytes
    segment: int
    envelope: bytes

    @property
    def parts(self) -> list[bytes]:
        """The sealed segments, without the header."""
        stride = self.segment + TAG_BYTES
        starts = range(HEADER.size, len(self.envelope), stride)
        return [self.envelope[start : start + stride] for start in starts]


def sealed(plain: bytes, segment: int, *, key: bytes = KEY, context: Context = CONTEXT) -> Sealed:
    return Sealed(plain, segment, seal(plain, key=key, context=context, segment_bytes=segment))


envelopes = st.builds(sealed, st.binary(max_size=200), st.integers(1, 48))


@st.composite
def forgeries(draw: st.DrawFn) -> tuple[Sealed, bytes]:
    """An envelope, and another one that somebody made of it by some changes."""
    original = draw(envelopes)
    forged = bytearray(original.envelope)
    stride = original.segment + TAG_BYTES
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(forged)))
        match draw(st.sampled_from(["cut", "flip", "insert", "drop", "repeat", "header"])):
            case "cut":
                del forged[at:]
            case "flip" if at < len(forged):
                forged[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                forged[at:at] = draw(st.binary(min_size=1, max_size=20))
            case "drop":
                start = HEADER.size + at // stride * stride
                del forged[start : start + stride]
            case "repeat":
                start = HEADER.size + at // stride * stride
                forged[start:start] = forged[start : start + stride]
            case "header":
                size = draw(st.integers(0, 1 << 32 - 1) | st.integers(1, 64))
                forged[: HEADER.size] = HEADER.pack(MAGIC, size % (1 << 32), 0)
    assume(bytes(forged) != original.envelope)
    return original, bytes(forged)


def streamed(
    envelope: bytes,
    start: int,
    stop: int,
    *,
    sealed_bytes: int | None = None,
    key: bytes = KEY,
    context: Context = CONTEXT,
    source: io.BytesIO | None = None,
) -> Iterator[bytes]:
    return open_range(
        source or io.BytesIO(envelope),
        sealed_bytes=len(envelope) if sealed_bytes is None else sealed_bytes,
        start=start,
        stop=stop,
        key=key,
        context=context,
    )


@given(forgeries())
def test_no_forgery_opens_as_a_whole(forgery: tuple[Sealed, bytes]) -> None:
    with pytest.raises(SealBrokenError):
        open_sealed(forgery[1], key=KEY, context=CONTEXT)


def claimed_size(envelope: bytes) -> int:
    """How much plaintext an envelope says it has; nothing of this is proved."""
    try:
        _, segment, _ = HEADER.unpack(envelope[: HEADER.size])
        return plain_size(len(envelope), segment_bytes=segment)
    except (struct.error, ZeroDivisionError, SealBrokenError):
        return 0


@given(forgeries(), st.booleans())
def test_a_stream_of_a_forgery_breaks_and_gave_nothing_but_what_is_genuine(
    forgery: tuple[Sealed, bytes], knows_the_size: bool
) -> None:
    """Read by the size in our database, or by what the forgery says of itself."""
    original, forged = forgery
    known = len(original.envelope) if knows_the_size else None
    stop = len(original.plain) if knows_the_size else claimed_size(forged)
    # What lies behind the size that we know is never read.
    assume(not (knows_the_size and forged.startswith(original.envelope)))
    came = bytearray()
    with pytest.raises(SealBrokenError):
        for piece in streamed(forged, 0, stop, sealed_bytes=known):
            came += piece
    assert original.plain.startswith(came)


@given(forgeries(), st.data())
def test_a_range_of_a_forgery_is_genuine_or_broken(
    forgery: tuple[Sealed, bytes], data: st.DataObject
) -> None:
    original, forged = forgery
    start = data.draw(st.integers(0, len(original.plain)))
    stop = data.draw(st.integers(start, len(original.plain)))
    came = bytearray()
    try:
        for piece in streamed(forged, start, stop, sealed_bytes=len(original.envelope)):
            came += piece
    except SealBrokenError:
        assert original.plain[start:stop].startswith(came)
    else:
        assert came == original.plain[start:stop]


@given(st.binary(max_size=120), st.integers(0, 200), st.integers(0, 200))
@example(HEADER.pack(MAGIC, 1, 0) + bytes(17), 5, 9)
@example(HEADER.pack(MAGIC, 1 << 26, 0) + bytes(40), 0, 200)
def test_bytes_that_we_never_sealed_are_broken(junk: bytes, start: int, length: int) -> None:
    for envelope in (junk, HEADER.pack(MAGIC, 16, 0) + junk):
        with pytest.raises(SealBrokenError):
            open_sealed(envelope, key=KEY, context=CONTEXT)
        with pytest.raises(SealBrokenError):
            list(streamed(envelope, start, start + length + 1))


@given(st.binary(max_size=80), st.integers(0, 1))
def test_a_key_that_we_never_wrapped_is_broken(junk: bytes, changed: int) -> None:
    wrapped = bytearray(wrap_key(KEY, wrapping_key=OTHER_KEY))
    wrapped[len(junk) % len(wrapped)] ^= 1
    with pytest.raises(SealBrokenError):
        unwrap_key(bytes(wrapped) if changed else junk, wrapping_key=OTHER_KEY)


names = st.text(max_size=12)
contexts = st.builds(
    Context, organization=names, object_id=names, kind=names, version=st.integers(0, 300)
)


@given(st.binary(max_size=60), st.integers(1, 24), contexts, contexts)
@example(b"", 1, CONTEXT, replace(CONTEXT, version=11))
def test_an_envelope_is_bound_to_all_of_its_context(
    plain: bytes, segment: int, context: Context, other: Context
) -> None:
    envelope = sealed(plain, segment, context=context).envelope
    assert open_sealed(envelope, key=KEY, context=context) == plain
    assume(context != other)
    with pytest.raises(SealBrokenError):
        open_sealed(envelope, key=KEY, context=other)
    with pytest.raises(SealBrokenError):
        list(streamed(envelope, 0, len(plain), context=other))


@given(
    st.binary(min_size=9, max_size=100),
    st.binary(min_size=9, max_size=100),
    st.integers(1, 16),
    st.booleans(),
    st.data(),
)
def test_segments_of_two_envelopes_do_not_mix(
    first: bytes, second: bytes, segment: int, same_key: bool, data: st.DataObject
) -> None:
    """Not even where another object was sealed under the same key, which does not happen."""
    other_key = KEY if same_key else OTHER_KEY
    elsewhere = replace(CONTEXT, object_id="art_2")
    ours = sealed(first, segment)
    theirs = sealed(second, segment, key=other_key, context=elsewhere)
    count = data.draw(st.integers(1, max(len(ours.parts), len(theirs.parts))))
    parts = [data.draw(st.sampled_from(ours.parts + theirs.parts)) for _ in range(count)]
    mixed = ours.envelope[: HEADER.size] + b"".join(parts)
    for key, context, genuine in ((KEY, CONTEXT, ours), (other_key, elsewhere, theirs)):
        if mixed == genuine.envelope:
            continue
        with pytest.raises(SealBrokenError):
            open_sealed(mixed, key=key, context=context)


@given(envelopes, st.binary(min_size=32, max_size=32))
def test_only_its_key_opens_an_envelope(one: Sealed, key: bytes) -> None:
    for other in {key, new_key(), OTHER_KEY} - {KEY}:
        with pytest.raises(SealBrokenError):
            open_sealed(one.envelope, key=other, context=CONTEXT)
        with pytest.raises(SealBrokenError):
            list(streamed(one.envelope, 0, len(one.plain), key=other))


@given(envelopes, st.lists(st.integers(0, 200), max_size=6))
def test_streaming_in_any_steps_is_the_same_as_the_whole(one: Sealed, cuts: list[int]) -> None:
    steps = sorted({0, len(one.plain), *(cut for cut in cuts if cut < len(one.plain))})
    pieces = [b"".join(streamed(one.envelope, a, b)) for a, b in pairwise(steps)]
    assert b"".join(pieces) == open_sealed(one.envelope, key=KEY, context=CONTEXT) == one.plain


@given(envelopes, envelopes, st.lists(st.booleans(), max_size=40))
def test_streams_that_take_turns_do_not_disturb_each_other(
    first: Sealed, second: Sealed, turns: list[bool]
) -> None:
    """They share one room for sealed bytes."""
    streams = [streamed(one.envelope, 0, len(one.plain)) for one in (first, second)]
    came = [bytearray(), bytearray()]
    for turn in turns:
        came[turn] += next(streams[turn], b"")
    for done, stream in zip(came, streams, strict=True):
        done += b"".join(stream)
    assert came == [first.plain, second.plain]


class Hesitant(io.BytesIO):
    """A source that gives less than it is asked for, as network files may."""

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        return super().readinto(memoryview(buffer)[:7])


@given(envelopes)
def test_a_source_may_give_less_than_was_asked_for(one: Sealed) -> None:
    source = Hesitant(one.envelope)
    pieces = streamed(one.envelope, 0, len(one.plain), source=source)
    assert b"".join(pieces) == one.plain


@given(st.integers(-20, 4_000), st.integers(1, 64))
def test_a_size_is_that_of_an_envelope_or_broken(size: int, segment: int) -> None:
    try:
        plain = plain_size(size, segment_bytes=segment)
    except SealBrokenError:
        return
    assert len(sealed(bytes(plain), segment).envelope) == size
