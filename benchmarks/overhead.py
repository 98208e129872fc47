"""What the studio adds to making a picture: against a bare diffusers loop, in the same run."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import psycopg
from PIL import Image

from benchmarks._client import Artist, signed_in
from benchmarks._direct import Direct, Outcome, Recipe, direct_loop, pixels_hash
from benchmarks._report import clean_up_on_signals, finish, load, milliseconds_p50, say
from benchmarks._studio import Studio, running_studio, throwaway_layout

PICTURES = 20
PICTURE_TIMEOUT_S = 60.0
_COLOURS = ("red", "blue", "yellow", "green", "white")
_OBJECTS = ("mug", "car", "star", "apple", "house", "hat", "lamp", "fish")
_PLACES = ("on a wooden table", "on a beach", "in the snow", "at night", "in a gray studio")
_PARTS = """
    SELECT extract(epoch FROM a.leased_at - j.submitted_at),
           extract(epoch FROM a.claimed_at - a.leased_at),
           extract(epoch FROM a.started_at - a.claimed_at),
           extract(epoch FROM o.created_at - a.started_at),
           extract(epoch FROM a.ended_at - o.created_at),
           extract(epoch FROM o.created_at),
           (a.timings->>'denoise')::float + (a.timings->>'decode')::float
    FROM jobs_jobattempt a
    JOIN jobs_job j ON j.id = a.job_id
    JOIN jobs_output o ON o.attempt_id = a.id
    WHERE j.id = %s
"""


@dataclass(slots=True)
class Samples:
    """Seconds, of all passes together."""

    direct: list[Outcome] = field(default_factory=list)
    studio: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    overhead: list[float] = field(default_factory=list)
    preview: list[float] = field(default_factory=list)
    announce: list[float] = field(default_factory=list)
    parts: list[tuple[float, ...]] = field(default_factory=list)
    same_pixels: list[bool] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)


def recipes_of_pass(number: int) -> list[Recipe]:
    """Twenty recipes that no other pass has: the studio keeps the embeddings of known prompts."""
    things = [f"{c} {o} {p}" for p in _PLACES for o in _OBJECTS for c in _COLOURS]
    return [
        {
            "prompt": f"photo of a {things[(number * PICTURES + k) % len(things)]}",
            "width": 128,
            "height": 128,
            "num_inference_steps": 20,
            "guidance_scale": 5.0,
            "seed": number * 1_000 + k,
        }
        for k in range(PICTURES)
    ]


def run(passes: int) -> dict[str, float | int | str | None]:
    """Measure; only one side computes at a time."""
    before = load()
    with (
        throwaway_layout() as layout,
        # One by one, as the loop does: batches would be faster and differ in the last bits.
        running_studio(layout, settings={"STUDIO_AGENT_BATCH": "1"}) as studio,
        signed_in(studio) as artist,
    ):
        threads = _agent_threads(studio)
        say(f"studio ready, {threads} torch thread(s), load {before}")
        with direct_loop(threads) as direct:
            _warm_up(artist, direct)
            samples = Samples()
            for number in range(passes):
                _measure_together(samples, studio, artist, direct, recipes_of_pass(2 * number))
                _measure_alone(samples, studio, artist, direct, recipes_of_pass(2 * number + 1))
        if not studio.is_complete:
            raise RuntimeError("A process of the studio died meanwhile; the figures mean nothing.")
    return _figures(samples, threads, before)


def _warm_up(artist: Artist, direct: Direct) -> None:
    recipes = recipes_of_pass(9)[:3]
    direct.make(recipes)
    for recipe in recipes:
        _finished(artist, artist.submit(recipe))


def _measure_together(
    samples: Samples, studio: Studio, artist: Artist, direct: Direct, recipes: Sequence[Recipe]
) -> None:
    """All at once: the direct loop, the studio, the direct loop again."""
    first = direct.make(recipes)
    used = studio.cpu_seconds()
    began = time.time()
    jobs = [artist.submit(recipe) for recipe in recipes]
    seconds = max(_announced(artist, job) for job in jobs) - began
    for job in jobs:
        _finished(artist, job)
    samples.cpu.append({name: s - used[name] for name, s in studio.cpu_seconds().items()})
    second = direct.make(recipes)
    samples.direct += [first, second]
    samples.studio.append(seconds)
    samples.ratios.append(seconds / ((first.total_s + second.total_s) / 2))
    samples.same_pixels += [
        _stored_pixels(artist, job) == expected
        for job, expected in zip(jobs, first.pixels, strict=True)
    ]
    say(f"together: direct {first.total_s:.2f} s, studio {seconds:.2f} s, {second.total_s:.2f} s")


def _measure_alone(
    samples: Samples, studio: Studio, artist: Artist, direct: Direct, recipes: Sequence[Recipe]
) -> None:
    """One after the other: each picture by the studio, then by the direct loop."""
    with psycopg.connect(studio.database_url, autocommit=True) as database:
        # Row-level security shows nothing to who does not say what they may see.
        database.execute("SELECT set_config('studio.organization', '*', false)")
        for recipe in recipes:
            began = time.time()
            job = artist.submit(recipe)
            announced = _announced(artist, job)
            _finished(artist, job)
            bare = direct.make([recipe]).total_s
            row = database.execute(_PARTS, [job]).fetchone() or ()
            *parts, stored_at, computed = (float(value) for value in row)
            samples.alone.append(announced - began)
            samples.overhead.append(announced - began - bare)
            samples.announce.append(announced - stored_at)
            samples.parts.append((*parts, computed, bare))
            if preview := artist.page.heard(job).first_preview:
                samples.preview.append(preview - began)
    say(
        f"alone: {milliseconds_p50(samples.alone)} ms a picture, overhead "
        f"{milliseconds_p50(samples.overhead)} ms"
    )


def _announced(artist: Artist, job_id: str) -> float:
    return artist.page.wait_for(
        job_id, lambda heard: heard.pictures.get(1), timeout_s=PICTURE_TIMEOUT_S
    )


def _finished(artist: Artist, job_id: str) -> None:
    artist.page.wait_for(job_id, lambda heard: heard.ended, timeout_s=PICTURE_TIMEOUT_S)
    status = artist.page.heard(job_id).status
    if status != "succeeded":
        raise RuntimeError(f"{job_id} {status}")


def _stored_pixels(artist: Artist, job_id: str) -> str:
    (file,) = artist.pictures(job_id)
    return pixels_hash(Image.open(io.BytesIO(file)))


def _agent_threads(studio: Studio) -> int:
    with psycopg.connect(studio.database_url) as database:
        row = database.execute("SELECT fingerprint->>'threads' FROM jobs_agent").fetchone()
    return int(row[0]) if row else 1


def _figures(samples: Samples, threads: int, before: float) -> dict[str, float | int | str | None]:
    waited, claimed, began, made, ended, computed, bare = (
        milliseconds_p50(column) for column in zip(*samples.parts, strict=True)
    )
    return {
        "direct_s": median(outcome.total_s for outcome in samples.direct),
        "studio_s": median(samples.studio),
        "ratio": median(samples.ratios),
        "submit_to_first_preview_ms_p50": (
            milliseconds_p50(samples.preview) if samples.preview else None
        ),
        "announce_ms_p50": milliseconds_p50(samples.announce),
        "overhead_ms_p50": milliseconds_p50(samples.overhead),
        "alone_ms_p50": milliseconds_p50(samples.alone),
        "direct_ms_p50": bare,
        "submitted_to_leased_ms_p50": waited,
        "leased_to_claimed_ms_p50": claimed,
        "claimed_to_started_ms_p50": began,
        "started_to_stored_ms_p50": made,
        "stored_to_ended_ms_p50": ended,
        "computed_ms_p50": computed,
        "same_pixels": sum(samples.same_pixels),
        "compared": len(samples.same_pixels),
        "previews_seen": len(samples.preview),
        "direct_cpu_ms": median(o.cpu_s for o in samples.direct) / PICTURES * 1000,
        **{f"{name}_cpu_ms": _cpu_ms(samples, name) for name in samples.cpu[0]},
        "pictures": PICTURES,
        "threads": threads,
        "load_before": before,
        "load_after": load(),
    }


def _cpu_ms(samples: Samples, name: str) -> float:
    """Processor time a picture, which a busy machine changes less than the time on the clock."""
    return round(median(used[name] for used in samples.cpu) / PICTURES * 1000, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="five passes instead of one")
    arguments = parser.parse_args()
    clean_up_on_signals()
    finish(run(5 if arguments.full else 1))


if __name__ == "__main__":
    main()
