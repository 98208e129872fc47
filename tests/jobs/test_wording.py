"""Times and amounts as people read them."""

from __future__ import annotations

import pytest

from jobs.wording import about, amount, gpu_seconds, listing, plural, span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (4.4, "4 s"),
        (12.0, "10 s"),
        (57.0, "55 s"),
        (59.0, "1 min"),
        (150.0, "2 min"),
        (89 * 60, "89 min"),
        (2 * 3600, "2 h"),
    ],
)
def test_an_amount_is_no_finer_than_it_is_known(seconds: float, said: str) -> None:
    assert amount(seconds) == said


@pytest.mark.parametrize(
    ("least", "most", "said"),
    [
        (0.0, 1.0, "at once"),
        (0.0, 4.0, "1–4 s"),
        (4.0, 4.2, "4 s"),
        (41.0, 130.0, "40 s–2 min"),
        (120.0, 300.0, "2–5 min"),
        (1_800.0, 9_000.0, "30 min–2 h"),
    ],
)
def test_a_span_goes_from_the_usual_to_the_bad_case(least: float, most: float, said: str) -> None:
    assert span(least, most) == said


def test_words() -> None:
    assert about(0.3) == "at once"
    assert about(20.0) == "in about 20 s"
    assert (gpu_seconds(0.04), gpu_seconds(3.21), gpu_seconds(1234.5)) == (
        "under 0.1",
        "3.2",
        "1,234",
    )
    assert (plural(1, "job"), plural(1_200, "job")) == ("1 job", "1,200 jobs")
    assert (listing(["a"]), listing(["a", "b", "c"])) == ("a", "a, b and c")
