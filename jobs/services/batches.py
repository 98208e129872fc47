"""Prompts with alternatives: what they become, told before and made in one go.

Words are chosen here, before a recipe is sealed: each job holds the words it was made with, so that
*Run again* makes the same, whatever became of the lists since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from django.db import transaction

from accounts.actors import Actor
from accounts.roles import Permission
from gpuagent.protocol.asked import kind_asked
from gpuagent.protocol.recipe import (
    PICTURES_MAX,
    PROMPT_MAX_CHARACTERS,
    SEED_MAX,
    FieldProblem,
)
from gpuagent.protocol.recipe_reader import as_integer
from gpuagent.protocol.taxonomy import AssetKind
from jobs.alternatives import AlternativesError, Text, draw, every, has_alternatives, read_text
from jobs.services.submission import (
    IDEMPOTENCY_KEY_MAX,
    Submitted,
    submit_job,
    with_defaults,
)
from jobs.services.wildcards import words_of
from studio.core.errors import InvalidInputError, invalid
from workspaces.access import require_in
from workspaces.models import Workspace

JOBS_MAX = 64
_PROMPTS = ("prompt", "negative_prompt")
_KEY_ROOM = 8


class Choosing(StrEnum):
    """How alternatives are chosen from."""

    DRAW = "draw"
    ALL = "all"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Requests without alternatives, one a job. `varies`: the prompts had some."""

    requests: tuple[dict[str, object], ...]
    varies: bool

    @property
    def pictures(self) -> int:
        """Of all of them together."""
        return sum(_pictures(raw) for raw in self.requests)


def plan_batch(
    *, actor: Actor, workspace: Workspace, raw: Mapping[str, object], choosing: object = None
) -> Batch:
    """The jobs that a request becomes.

    *Draw*: each picture has words of its own, drawn by its seed, and is a job of its own if there
    is more than one. *All*: every combination is a job, with the seed and the number of pictures
    asked for.

    Raises:
        InvalidInputError: the alternatives cannot be read, or are too many.
        ForbiddenError: the role may not submit.
    """
    require_in(actor, workspace, Permission.JOB_SUBMIT)
    how = _choosing(choosing)
    values = with_defaults(raw)
    if how is Choosing.OFF or kind_asked(values) is not AssetKind.CHECKPOINT:
        return Batch(requests=(values,), varies=False)
    texts = _read(workspace, values)
    if not any(has_alternatives(text) for text in texts.values()):
        plain = {name: "".join(every(text)) for name, text in texts.items()}
        return Batch(requests=({**values, **plain},), varies=False)
    made = _all(values, texts) if how is Choosing.ALL else _drawn(values, texts)
    return Batch(requests=tuple(made), varies=True)


def draw_once(
    *, workspace: Workspace, raw: Mapping[str, object], choosing: object = None
) -> dict[str, object]:
    """The request as one job: its words are drawn once, by its seed.

    Raises:
        InvalidInputError: the alternatives cannot be read, or all were asked for.
    """
    how, values = _choosing(choosing), with_defaults(raw)
    if how is Choosing.ALL:
        message = "All alternatives are more than one job: ask for them with `POST batches`."
        raise invalid("alternatives", "needs_batch", message)
    if how is Choosing.OFF or kind_asked(values) is not AssetKind.CHECKPOINT:
        return values
    return {**values, **_words(_read(workspace, values), _seed(values))}


def submit_batch(
    *,
    actor: Actor,
    workspace: Workspace,
    batch: Batch,
    idempotency_key: str | None = None,
    project_id: object = None,
    tier: object = None,
) -> list[Submitted]:
    """Queue all of it, or nothing.

    Raises:
        InvalidInputError: something about one of them is wrong.
        ConflictError: the idempotency key names a job of another workspace.
    """
    keys = _keys(idempotency_key, len(batch.requests))
    with transaction.atomic():
        return [
            submit_job(
                actor=actor,
                workspace=workspace,
                raw=raw,
                idempotency_key=key,
                project_id=project_id,
                tier=tier,
            )
            for raw, key in zip(batch.requests, keys, strict=True)
        ]


def _keys(key: str | None, count: int) -> Sequence[str | None]:
    if not key:
        return [None] * count
    if count > 1 and len(key) > IDEMPOTENCY_KEY_MAX - _KEY_ROOM:
        limit = IDEMPOTENCY_KEY_MAX - _KEY_ROOM
        message = f"The idempotency key has {len(key)} characters; at most {limit} fit here."
        raise invalid("idempotency_key", "too_long", message, len(key), limit)
    return [key, *(f"{key}.{number}" for number in range(1, count))]


def _choosing(given: object) -> Choosing:
    if given in (None, ""):
        return Choosing.DRAW
    try:
        return Choosing(str(given))
    except ValueError:
        named = ", ".join(Choosing)
        message = f"Alternatives are chosen from by one of: {named}."
        raise invalid("alternatives", "unknown_choosing", message, str(given)[:40]) from None


def _read(workspace: Workspace, values: Mapping[str, object]) -> dict[str, Text]:
    """What the prompts can become; those that are wrong anyway are left to the recipe's check."""
    given = {name: values.get(name) for name in _PROMPTS}
    prompts = {
        name: text
        for name, text in given.items()
        if isinstance(text, str) and len(text) <= PROMPT_MAX_CHARACTERS
    }
    lists = words_of(workspace) if any("__" in text for text in prompts.values()) else {}
    problems: list[FieldProblem] = []
    texts = {}
    for name, text in prompts.items():
        try:
            texts[name] = read_text(text, lists)
        except AlternativesError as error:
            problems.append(error.problem(name))
    if problems:
        raise InvalidInputError(problems)
    return texts


def _all(values: dict[str, object], texts: Mapping[str, Text]) -> list[dict[str, object]]:
    count = 1
    for text in texts.values():
        count *= text.count
    if count > JOBS_MAX:
        shown = f"{count:,}" if count < 10**12 else "more than a trillion"
        message = (
            f"These alternatives make {shown} prompts; at most {JOBS_MAX} can be asked for at "
            "once. Take some out, or draw at random."
        )
        raise invalid("prompt", "too_many_prompts", message, min(count, 10**12), JOBS_MAX)
    made: dict[tuple[str, ...], dict[str, object]] = {}
    for prompt in every(texts["prompt"]) if "prompt" in texts else [None]:
        negatives = every(texts["negative_prompt"]) if "negative_prompt" in texts else [None]
        for negative in negatives:
            words = {"prompt": prompt, "negative_prompt": negative}
            said = {name: text for name, text in words.items() if text is not None}
            made.setdefault(tuple(said.values()), {**values, **said})
    return list(made.values())


def _drawn(values: dict[str, object], texts: Mapping[str, Text]) -> list[dict[str, object]]:
    count, seed = _pictures(values), _seed(values)
    if count == 1:
        return [{**values, **_words(texts, seed)}]
    made: list[dict[str, object]] = []
    for index in range(count):
        own = (seed + index) % (SEED_MAX + 1)
        made.append({**values, **_words(texts, own), "seed": own, "num_images_per_prompt": 1})
    return made


def _words(texts: Mapping[str, Text], seed: int) -> dict[str, str]:
    random = Random(seed)  # noqa: S311  # the seed of a picture, no secret
    return {name: draw(text, random) for name, text in texts.items()}


def _seed(values: Mapping[str, object]) -> int:
    """0 if it is none: the recipe's check tells."""
    return int(as_integer(values.get("seed")) or 0)


def _pictures(values: Mapping[str, object]) -> int:
    asked = as_integer(values.get("num_images_per_prompt")) or 1
    return int(asked) if 1 <= asked <= PICTURES_MAX else 1
