"""How values lie in Django's cache, which is Redis."""

from __future__ import annotations

import json
from typing import Any


class JsonSerializer:
    """JSON instead of Django's pickle: what another writer put into Redis is data, never code."""

    def dumps(self, value: object) -> bytes:
        """A value of JSON's kinds; an integer stays one that Redis can count up."""
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, data: bytes | str) -> Any:  # noqa: ANN401  # whatever was put there
        """The value; lists come back where tuples went in."""
        return json.loads(data)
