"""JSON bodies of the API."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.parsers import JSONParser
from typing_extensions import override

from studio.core.errors import invalid


class TextJSONParser(JSONParser):
    """Refuses what is JSON but no text: half of a character (`"\\ud800"`) can be neither stored nor
    sent back.
    """

    @override
    def parse(self, *args: Any, **kwargs: Any) -> Any:  # DRF's signature
        """The value.

        Raises:
            ParseError: it is not JSON.
            InvalidInputError: it holds half of a character; the field is named.
        """
        value = super().parse(*args, **kwargs)
        if not _is_text(value):
            fields = value.items() if isinstance(value, dict) else ()
            named = (name for name, entry in fields if _is_text(name) and not _is_text(entry))
            message = "This holds half of a character (a lone surrogate). Send it whole."
            raise invalid(next(named, "body"), "not_text", message)
        return value


def _is_text(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
