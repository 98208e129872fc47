"""The judge: what it may say, and that it can say no."""

from __future__ import annotations

import numpy as np

from house.drawing.render import draw
from house.drawing.specs import KINDS, Item, Spec
from house.evaluation import as_input, ask, ceilings, figures, judge_pictures
from house.judge import Judge
from house.questions import answers


def test_drawings_it_never_saw_are_read_right(judge: Judge) -> None:
    shares = ceilings(judge, 150)
    for name in ("object", "colour", "background", "style", "size_position"):
        assert shares[name] >= 0.98, shares
    assert shares["two_objects"] >= 0.96, shares


def test_wrong_pictures_are_told(judge: Judge) -> None:
    rng = np.random.default_rng(1)
    asked = ask(30, two=False, seed=3)
    others = [Spec((Item(_next(KINDS, q.spec.items[0].kind), "red"),), "grass") for q in asked]
    pictures = as_input(np.stack([draw(spec, rng) for spec in others]))
    verdicts = judge_pictures(judge, [q.spec for q in asked], pictures)
    assert figures(verdicts, [])["object"] <= 0.05


def test_a_pair_in_the_wrong_order_is_wrong(judge: Judge) -> None:
    rng = np.random.default_rng(2)
    mug, star = Item("mug", "red"), Item("star", "blue")
    pictures = as_input(draw(Spec((star, mug), "grass"), rng)[None])
    (verdict,) = judge_pictures(judge, [Spec((mug, star), "grass")], pictures)
    assert not verdict.right("kind")
    assert not verdict.right("colour")


def test_answers_name_everything() -> None:
    one = answers(Spec((Item("mug", "red"),), "wood", "flat", "small", "left"))
    assert one == {
        "kind": "mug",
        "colour": "red",
        "second kind": "none",
        "second colour": "none",
        "background": "wood",
        "style": "flat",
        "size": "small",
        "place": "left",
    }


def test_a_third_of_the_prompts_ask_for_what_training_never_saw() -> None:
    asked = ask(90, two=False, seed=4)
    assert sum(question.spec.unseen for question in asked) == 30
    assert len({question.prompt for question in asked}) > 85


def _next(choices: tuple[str, ...], one: str) -> str:
    return choices[(choices.index(one) + 1) % len(choices)]
