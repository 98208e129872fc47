"""Traces in the log: where an error came from and what kind it is, never its message."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.models import Organization
from studio.core.logs import LineFormatter
from studio.core.scoping import system_scope

CANARY = "smoldering-ibex-33f8"
NOTHING: dict[str, str] = {}


def traced(fail: Callable[[], object]) -> str:
    try:
        fail()
    except Exception as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), None)
        record.exc_info = (type(error), error, error.__traceback__)
        return LineFormatter("{message}", style="{").format(record)
    raise AssertionError("did not fail")


def chained() -> None:
    try:
        int(CANARY)
    except ValueError as error:
        raise KeyError(CANARY) from error


@pytest.mark.parametrize("fail", [lambda: int(CANARY), lambda: NOTHING[CANARY], chained])
def test_a_message_is_not_told(fail: Callable[[], object]) -> None:
    said = traced(fail)
    assert CANARY not in said
    assert "test_logs.py" in said


def test_causes_are_told_first() -> None:
    said = traced(chained)
    assert said.index("builtins.ValueError") < said.index("builtins.KeyError")


@pytest.mark.django_db
def test_a_row_that_the_database_refused_is_not_told() -> None:
    def fail() -> None:
        with system_scope(), transaction.atomic():
            Organization.objects.create(id=CANARY, name=None)  # type: ignore[misc]  # on purpose

    with pytest.raises(IntegrityError, match=CANARY):
        fail()
    said = traced(fail)
    assert CANARY not in said
    assert "psycopg.errors.NotNullViolation [23502]" in said


def test_the_product_logs_this_way() -> None:
    before = logging.getLogger().handlers[:]
    try:
        logging.config.dictConfig(settings.LOGGING)
        added = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
        assert added
        assert all(isinstance(handler.formatter, LineFormatter) for handler in added)
    finally:
        logging.getLogger().handlers[:] = before
