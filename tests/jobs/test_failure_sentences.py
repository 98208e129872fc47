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


GIB = 1024**3
ASKED = {"width": 1536, "height": 1536, "controls": 2, "loras": 0}


def test_it_names_what_was_asked_for_what_that_takes_and_what_would_do() -> None:
    data = {**ASKED, "needed_bytes": 21 * GIB, "available_bytes": 16 * GIB, "largest_side": 1152}
    assert failure_sentence(FailureCode.DOES_NOT_FIT, data) == (
        "The picture does not fit into the agent's memory. 1536 × 1536 with two ControlNets needs "
        "about 21.0 GiB; it has 16.0 GiB. Up to 1152 × 1152 pixels it should work."
    )
    # And of what was thought to fit, no number that it does not need
    thought = {**data, "needed_bytes": 15 * GIB, "loras": 1, "largest_side": 0}
    assert failure_sentence(FailureCode.OUT_OF_MEMORY, thought) == (
        "The agent ran out of memory. 1536 × 1536 with two ControlNets and one LoRA was too much. "
        "Use fewer ControlNets or LoRAs, or a smaller model."
    )


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_has_a_sentence(code: FailureCode) -> None:
    assert failure_sentence(code, {}) != failure_sentence("unknown", {})
