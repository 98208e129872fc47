"""Trigger words: what calls an embedding in a prompt, and what a LoRA's maker says of it. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping

TRIGGER_MAX_CHARACTERS = 64
TRIGGERS_MAX = 12
# Of what training tools write; a sentence or a list of tags, then tags with their counts.
_SAID = ("modelspec.trigger_phrase", "trigger_words", "ss_trigger_words", "instance_prompt")
_COUNTED = "ss_tag_frequency"


def is_trigger(word: str) -> bool:
    """Whether a prompt can hold it as it is: no blanks, and nothing that means a weight."""
    return bool(re.fullmatch(rf"[^\s()\[\]\\:,]{{1,{TRIGGER_MAX_CHARACTERS}}}", word))


def split_at(text: str, triggers: Iterable[str]) -> list[tuple[str, str | None]]:
    """The text cut at trigger words: each piece, and the trigger that it is (None: plain text).

    Capital letters mean nothing, as for the tokenizer; of two that begin alike the longer counts.
    A trigger inside of another word is none.
    """
    known = {trigger.lower(): trigger for trigger in triggers}
    if not known:
        return [(text, None)]
    words = "|".join(_whole(word) for word in sorted(known, key=lambda word: (-len(word), word)))
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for found in re.finditer(words, text, re.IGNORECASE):
        trigger = known.get(found[0].lower())
        if trigger is None:  # letters that are equal only without case, such as the long s
            continue
        pieces += [(text[at : found.start()], None), (found[0], trigger)]
        at = found.end()
    pieces.append((text[at:], None))
    return [piece for piece in pieces if piece[0]] or [("", None)]


def has_trigger(text: str, trigger: str) -> bool:
    """Whether a prompt calls it."""
    return any(found is not None for _text, found in split_at(text, [trigger]))


def _whole(word: str) -> str:
    before = r"(?<!\w)" if word[0].isalnum() or word[0] == "_" else ""
    after = r"(?!\w)" if word[-1].isalnum() or word[-1] == "_" else ""
    return before + re.escape(word) + after


def triggers_said(said: Mapping[str, str]) -> list[str]:
    """A LoRA's trigger words, from the words that came with its file; most frequent tags first."""
    for name in _SAID:
        words = _distinct(said.get(name, "").strip("[] ").replace('"', "").split(","))
        if words:
            return words
    counts: Counter[str] = Counter()
    try:
        for tags in json.loads(said.get(_COUNTED, "{}")).values():
            counts.update({str(tag): int(count) for tag, count in tags.items()})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []
    return _distinct(word for word, _count in sorted(counts.items(), key=lambda i: (-i[1], i[0])))


def _distinct(words: Iterable[str]) -> list[str]:
    tidy = (" ".join(word.split()) for word in words)
    kept = dict.fromkeys(word for word in tidy if 0 < len(word) <= TRIGGER_MAX_CHARACTERS)
    return list(kept)[:TRIGGERS_MAX]
