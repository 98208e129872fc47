"""The text of a token: found by its form, told from chance by its checksum, offline."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.actors import Actor
from accounts.models import ApiToken
from accounts.services.tokens import create_token, find_token, hash_token
from accounts.token_text import PATTERN, can_be_token, checksum, new_text
from studio.core.scoping import organization_scope

DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "use-the-api.md"


def test_a_new_text_has_the_form_and_its_checksum() -> None:
    for _ in range(200):
        text = new_text()
        assert re.fullmatch(PATTERN, text)
        assert can_be_token(text)
    assert len({new_text() for _ in range(50)}) == 50


def test_the_checksum_is_crc_32_in_base_62() -> None:
    # Worked out by hand for one text: anybody can do the same with any CRC-32.
    text = "stu_" + "A" * 43
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = 0
    for digit in checksum(text):
        number = number * 62 + digits.index(digit)
    assert number == zlib.crc32(text.encode())
    assert len(checksum("")) == 6


def test_what_was_mistyped_is_no_token() -> None:
    text = new_text()
    for position in range(len(text)):
        other = "A" if text[position] != "A" else "B"
        assert not can_be_token(text[:position] + other + text[position + 1 :])
    assert not can_be_token(text[:-1])
    assert not can_be_token(text + "A")
    assert not can_be_token(" " + text)
    assert not can_be_token("stu_" + "é" * 49)


def test_the_expression_and_the_program_in_the_docs_find_tokens() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert PATTERN in page
    program = re.search(r"```python\n(import re\n.*?)```", page, re.DOTALL)
    assert program, "the page shows how to check a found text"
    namespace: dict[str, Any] = {}
    exec(program[1], namespace)  # noqa: S102  # our own page
    real, chance = new_text(), "stu_" + "x" * 49
    found = namespace["find_tokens"](f"key = '{real}' # not {chance}, nor {real[:-1]}")
    assert found == [real]


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "stu_", "x" * 53, "stu_" + "x" * 49, "stu_" + "x" * 10_000])
def test_the_database_is_not_asked_about_other_texts(
    text: str,
) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert find_token(text) is None
    assert len(asked) == 0


@pytest.mark.django_db
def test_a_token_of_before_the_checksum_works_on(bob_in_a: Actor) -> None:
    old = "stu_" + "x" * 43
    with organization_scope(bob_in_a.organization_id):
        token, _plain = create_token(actor=bob_in_a, name="Farm")
    ApiToken.objects.filter(pk=token.pk).update(token_hash=hash_token(old))
    assert find_token(old) == token
