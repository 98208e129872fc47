"""The type of what Django's test client answers; django-stubs keeps it to itself."""

from __future__ import annotations

from html import unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer
else:
    from django.http import HttpResponse as Answer

__all__ = ["Answer"]


def text_of(response: Answer) -> str:
    return unescape(response.content.decode())
