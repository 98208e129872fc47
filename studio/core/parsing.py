"""JSON of the API, read strictly (RFC 7493): what two readers might take differently is refused."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from typing_extensions import override

from studio.core.errors import invalid


class StrictJSONParser(JSONParser):
    """Also refuses a name given twice, halves of characters, and what nests without end."""

    @override
    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The value.

        Raises:
            ParseError: it is no JSON.
            InvalidInputError: it is, with a name twice, or with half of a character, which can be
                neither stored nor sent back; the field is named.
        """
        encoding = str((parser_context or {}).get("encoding", "utf-8"))
        try:
            text = codecs.decode(stream.read(), encoding)
            body = json.loads(text, parse_constant=_no_number, object_pairs_hook=_names_once)
        except RecursionError as error:
            raise ParseError("The body is nested too deeply.") from error
        except json.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error}.") from error
        except (ValueError, LookupError) as error:
            raise ParseError("The body is not JSON.") from error
        if not _is_text(body):
            raise invalid(
                _field_of(body), "not_text", "This holds half of a character. Send it whole."
            )
        return body


def json_object(request: Request) -> dict[str, Any]:
    """The body.

    Raises:
        InvalidInputError: it is no JSON object.
    """
    if isinstance(request.data, dict):
        return dict(request.data)
    raise invalid("body", "not_an_object", "The body must be a JSON object.")


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise invalid("body", "given_twice", "A name is given twice in the body.")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _is_text(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _field_of(body: object) -> str:
    """The first field that is no text, or the body as a whole."""
    fields = body.items() if isinstance(body, dict) else ()
    return next((name for name, entry in fields if _is_text(name) and not _is_text(entry)), "body")
