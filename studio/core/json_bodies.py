"""JSON bodies of the API."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from typing_extensions import override


class TextJSONParser(JSONParser):
    """Refuses what is JSON but no text: half of a character (`"\\ud800"`) can be neither stored nor
    sent back.
    """

    @override
    def parse(self, *args: Any, **kwargs: Any) -> Any:  # DRF's signature
        """The value.

        Raises:
            ParseError: it is not JSON, or holds half of a character.
        """
        value = super().parse(*args, **kwargs)
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ParseError("The body holds half of a character (a lone surrogate).") from error
        return value
