"""What people are told of a failure: the numbers to lower, where there are any."""

from __future__ import annotations

import pytest

from gpuagent.protocol.failures import FailureCode
from jobs.messages import failure_sentence


@pytest.mark.parametrize("code", [FailureCode.OUT_OF_MEMORY, FailureCode.DOES_NOT_FIT])
def test_what_does_not_fit_says_what_would(code: FailureCode) -> None:
    sentence = failure_sentence(code, {"needed_bytes": 9, "largest_side": 640})
    assert sentence.endswith("Up to 640 × 640 pixels it should work.")
    for nothing in ({}, {"largest_side": 0}, {"largest_side": "640"}, {"largest_side": True}):
        assert "should work" not in failure_sentence(code, nothing)
        assert "smaller" in failure_sentence(code, nothing)


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_has_a_sentence(code: FailureCode) -> None:
    assert failure_sentence(code, {}) != failure_sentence("unknown", {})
