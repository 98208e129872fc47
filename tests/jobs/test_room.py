"""What is said of a recipe that fits nowhere: what takes the memory, and what would fit."""

from __future__ import annotations

import pytest

from jobs.room import GIB, Laid, Wish, counted, too_large

NETS = Laid(noun="ControlNet", field="controls", sizes=(3 * GIB, 3 * GIB))
LORAS = Laid(noun="LoRA", field="loras", sizes=(GIB // 4,))


def wish(
    *laid: Laid,
    width: int = 1536,
    height: int = 1536,
    model_gib: float = 5.0,
    picture_gib: float = 0.0,
) -> Wish:
    """Ten thousand bytes a pixel or so: a picture of 1,536² takes 9 GiB."""

    def needs(width: int, height: int, laid_bytes: int, has_picture: bool) -> int:
        pixels = width * height * 4_096
        return int((model_gib + picture_gib * has_picture) * GIB) + pixels + laid_bytes

    return Wish(model="SDXL", width=width, height=height, laid=laid, needs=needs)


def test_it_names_what_costs_and_each_way_to_make_it_fit() -> None:
    problem = too_large(wish(NETS, LORAS), 16 * GIB)
    assert (problem.field, problem.code, problem.limit) == ("width", "does_not_fit", 1_088)
    assert problem.message == (
        "SDXL at 1536 × 1536 with two ControlNets and one LoRA needs about 20.2 GiB; the largest "
        "agent has 16.0 GiB. Try 1088 × 1088 or smaller, or no ControlNets."
    )
    problem = too_large(wish(NETS), 17.5 * GIB)  # type: ignore[arg-type]  # a number of bytes
    assert problem.message.endswith("Try 1280 × 1280 or smaller, or one ControlNet.")


def test_the_shape_is_kept() -> None:
    problem = too_large(wish(width=2048, height=1024), 9 * GIB)
    assert "Try 1472 × 704 or smaller" in problem.message


def test_where_no_size_fits_something_beside_the_model_must_go() -> None:
    # Given a picture so small that it is not what takes the memory
    small = wish(NETS, width=64, height=64)
    problem = too_large(small, 10 * GIB)
    assert problem.field == "controls"
    assert problem.message.endswith("Try one ControlNet.")
    assert too_large(small, 6 * GIB).message.endswith("Try no ControlNets.")


def test_where_nothing_helps_it_is_the_model() -> None:
    problem = too_large(wish(LORAS, width=64, height=64), 2 * GIB)
    assert (problem.field, problem.limit) == ("model", 0)
    assert problem.message.endswith("Choose a smaller model.")


def test_a_huge_starting_picture_is_told() -> None:
    problem = too_large(wish(width=64, height=64, picture_gib=4.0), 6 * GIB)
    assert problem.field == "image"
    assert problem.message.endswith("Try a smaller starting picture.")


@pytest.mark.parametrize(
    ("number", "words"), [(0, "no LoRAs"), (1, "one LoRA"), (3, "three LoRAs"), (12, "12 LoRAs")]
)
def test_numbers_are_words(number: int, words: str) -> None:
    assert counted(number, "LoRA") == words


def test_what_is_proposed_really_fits() -> None:
    for side in range(128, 2_049, 120):
        for largest in range(3, 20):
            asked = wish(NETS, LORAS, width=side, height=side)
            if asked.needed_bytes <= largest * GIB:
                continue
            problem = too_large(asked, largest * GIB)
            if problem.limit:
                limit = int(str(problem.limit))
                fitting = wish(NETS, LORAS, width=limit, height=limit)
                assert fitting.needed_bytes <= largest * GIB
