"""What encryption at rest costs: the envelope, ranges of large objects, delivery, new keys.

References run in the same process by turns: bare AES-GCM on the same segments, plain reads of the
same file, and plain files from the same web process.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks._report import Figure, clean_up_on_signals, finish, load, say
from benchmarks._studio import product_with_files, throwaway_layout
from gpuagent.protocol.sealing import (
    HEADER,
    SEGMENT_BYTES,
    TAG_BYTES,
    Context,
    new_key,
    open_sealed,
    seal,
    unwrap_key,
    wrap_key,
)

CONTEXT = Context(
    organization="org_01M7WZ3ZK5S3V0X8Y7Q9R2T4A6",
    object_id="art_01M7WZ3ZK5S3V0X8Y7Q9R2T4B7",
    kind="picture",
)
# A thumbnail, a picture, something large. Small ones are timed many at a time.
SIZES = {"64k": 1 << 16, "1m": 1 << 20, "64m": 1 << 26}
SAMPLE_BYTES = 1 << 23
Act = Callable[[], object]


def run(*, full: bool) -> dict[str, Figure]:
    """Measure everything."""
    figures: dict[str, Figure] = {"load_before": load()}
    for name, size in SIZES.items():
        figures |= _speeds(name, size, samples=61 if full else 21)
    # The one figure for each is that of a full segment, about a picture.
    figures |= {"seal_ratio": figures["seal_ratio_1m"], "open_ratio": figures["open_ratio_1m"]}
    figures |= _wrapping()
    with throwaway_layout() as layout, product_with_files(layout) as files:
        from benchmarks import _sealed  # Django has its settings only now

        figures |= _sealed.range_reads(200 if full else 60)
        figures |= _sealed.deliveries(layout.port, files, 300 if full else 100)
        figures |= _sealed.rotation(3 if full else 1)
    return figures | {"load_after": load()}


def _speeds(name: str, size: int, *, samples: int) -> dict[str, Figure]:
    """Ours and bare AES-GCM by turns, in processor time; both keep what they make."""
    key, plain = new_key(), memoryview(os.urandom(size))
    cipher = AESGCM(key)
    starts = range(0, size, SEGMENT_BYTES)
    pieces = [
        (counter.to_bytes(12, "big"), plain[at : at + SEGMENT_BYTES])
        for counter, at in enumerate(starts)
    ]
    bare = [(nonce, cipher.encrypt(nonce, piece, None)) for nonce, piece in pieces]
    whole = bytes(plain)
    envelope = seal(whole, key=key, context=CONTEXT)
    assert len(envelope) == HEADER.size + len(starts) * TAG_BYTES + size
    assert open_sealed(envelope, key=key, context=CONTEXT) == plain
    associated = envelope[: HEADER.size] + CONTEXT.to_bytes()

    def bound() -> object:
        """What any sealing of an object pays: a key of its own, and what it is bound to."""
        own = AESGCM(key)
        return [own.encrypt(nonce, piece, associated) for nonce, piece in pieces]

    acts: dict[str, Act] = {
        "bare_seal": lambda: [cipher.encrypt(nonce, piece, None) for nonce, piece in pieces],
        "seal": lambda: seal(whole, key=key, context=CONTEXT),
        "bound_seal": bound,
        "bare_open": lambda: [cipher.decrypt(nonce, piece, None) for nonce, piece in bare],
        "open": lambda: open_sealed(envelope, key=key, context=CONTEXT),
    }
    taken = _by_turns(acts, samples, repeat=max(1, SAMPLE_BYTES // size))
    speeds: dict[str, Figure] = {
        f"{act}_mb_s_{name}": round(size / 1e6 / median(seconds)) for act, seconds in taken.items()
    }
    say(f"{name}: {speeds}, load {load()}")
    return speeds | {
        f"seal_ratio_{name}": _ratio(taken["bare_seal"], taken["seal"]),
        f"seal_ratio_bound_{name}": _ratio(taken["bound_seal"], taken["seal"]),
        f"open_ratio_{name}": _ratio(taken["bare_open"], taken["open"]),
    }


def _by_turns(acts: dict[str, Act], samples: int, *, repeat: int) -> dict[str, list[float]]:
    """Seconds of processor time of each act, `samples` times; now one first, now the other."""
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for number in range(samples + 1):
        names = list(acts) if number % 2 else list(reversed(acts))
        for name in names:
            act = acts[name]
            began = time.thread_time()
            for _ in range(repeat):
                kept = act()
            seconds = (time.thread_time() - began) / repeat
            del kept
            if number:  # the first warms up
                taken[name].append(seconds)
    return taken


def _ratio(reference: list[float], ours: list[float]) -> float:
    """Our speed ÷ the reference's, of neighbors in time."""
    return median(bare / own for bare, own in zip(reference, ours, strict=True))


def _wrapping() -> dict[str, Figure]:
    key, wrapping = new_key(), new_key()
    wrapped = wrap_key(key, wrapping_key=wrapping)
    taken = _by_turns(
        {
            "wrap": lambda: wrap_key(key, wrapping_key=wrapping),
            "unwrap": lambda: unwrap_key(wrapped, wrapping_key=wrapping),
        },
        samples=21,
        repeat=500,
    )
    return {f"{name}_us": median(seconds) * 1e6 for name, seconds in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crypto", description=__doc__)
    parser.add_argument("--full", action="store_true", help="three times as many samples")
    full = parser.parse_args().full
    clean_up_on_signals()
    finish(run(full=full))


if __name__ == "__main__":
    main()
