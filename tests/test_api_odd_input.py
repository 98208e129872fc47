"""Values that nobody in their right mind sends, at every place of every call: no answer is a 500.

The places come from the OpenAPI document, so that calls that are added later are probed as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from redis import Redis

from accounts.models import Organization, User
from tests import factories
from tests.answers import Answer
from tests.conformance import (
    DOCUMENT,
    METHODS,
    check_problem,
    undone,
)
from tests.test_route_permissions import fleet_ids as fleet_ids
from tests.test_route_permissions import ids as ids
from tests.test_route_permissions import people_ids as people_ids
from tests.test_route_permissions import token_of

pytestmark = pytest.mark.django_db

LONG = "x" * 5_000
# As they stand in a body; some are no JSON.
ODD_JSON = (
    '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', f'"{LONG}"', '""', '"\\u202e\\u0007"',
    "null", "true", "-1", "0", "1e400", "-1e308", "NaN", "Infinity", "9" * 400, "9" * 5_000,
    "9223372036854775808", "1.5", "[]", "{}", "[[1]]", '{"a":{"b":[]}}',
    "[" * 300 + "]" * 300, "[" * 100_000 + "]" * 100_000,
)  # fmt: skip
ODD_LISTS = (*(f"[{odd}]" for odd in ODD_JSON), "[" + ",".join(['"x"'] * 50_000) + "]")
ODD_BODIES = (
    b"", b"\xff\xfe", b"\x00", b"nul", b'"text"', b"[]", b"1", b"null", b"{", b'{"a":1}{',
    b'{"prompt":"a","prompt":"b"}', b'{"":""}', b'{"\\ud800":1}', b'{"\\u0000":1}', b'{"a b\\n":1}',
    b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"__class__":{"__init__":1}}',
    "{\"prompt\":\"ü\"}".encode("utf-16"),
)  # fmt: skip
ODD_TEXTS = (
    "", "%00", "a%00b", "%ff%fe", "%ed%a0%80", quote("🖼\u202e"), LONG, "-1", "9" * 400, "1e400",
    "null", "%5B%5D", "..", "%2e%2e%2fetc", "%0d%0aX-Odd:1", "true", "%25s", "{0}",
    "job_" + "Z" * 26, "job_" + "0" * 25,
)  # fmt: skip
ODD_HEADERS = (
    "", "wait=", "wait=0, wait=1", "wait=99999999", "wait=-1", "wait=0;wait=0", LONG, "\x00",
    "ü\xff", "a\tb", "()", "0" * 255,
)  # fmt: skip
CONTENT_TYPES = (
    "", "application/json", "application/json; charset=utf-7", "application/json; charset=nosuch",
    "text/plain", "multipart/form-data", "multipart/form-data; boundary=", "a/b; boundary=\x80",
    "multipart/form-data; boundary=" + LONG, "application/x-www-form-urlencoded", "*/*", "/", ";",
)  # fmt: skip
ACCEPTS = ("", "*/*", "text/html", "image/png;q=0.1", "application/problem+json", "a", ";", "ü")


@dataclass(frozen=True, slots=True)
class Operation:
    """A call of the API as its document has it."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.described["operationId"])

    def parameters(self, where: str) -> list[str]:
        found = self.described.get("parameters", [])
        return [given["name"] for given in found if given["in"] == where]

    @property
    def body(self) -> Mapping[str, Any]:
        """The schema of its JSON body."""
        content = self.described.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        reference = schema.get("$ref", "").rpartition("/")[2]
        found: Mapping[str, Any] = DOCUMENT["components"]["schemas"].get(reference, schema)
        return found

    def address(self, ids: Mapping[str, str]) -> str:
        return self.path.format(**{name: ids[name] for name in self.parameters("path")})


OPERATIONS = [
    Operation(method.upper(), path, described)
    for path, methods in DOCUMENT["paths"].items()
    for method, described in methods.items()
    if method in METHODS
]


@dataclass(frozen=True, slots=True)
class Program:
    """Sends one request, and undoes what it did."""

    client: Client
    ids: Mapping[str, str]
    redis: Redis

    def send(
        self,
        operation: Operation,
        address: str = "",
        body: bytes = b"{}",
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        with undone(self.redis):
            answer = self.client.generic(
                operation.method,
                address or operation.address(self.ids),
                body,
                content_type,
                headers=headers,
            )
            if answer.streaming:
                answer.close()
        return answer


@pytest.fixture
def program(
    alice: User, organization_a: Organization, ids: dict[str, str], redis: Redis
) -> Program:
    token = factories.make_token(alice, organization_a)
    client = Client(headers={"Authorization": f"Bearer {token}"}, raise_request_exception=False)
    own = {"token_id": token_of(alice, organization_a).pk}
    return Program(client, {**ids, **own}, redis)


def check(operation: Operation, answer: Answer, odd: object) -> None:
    told = f"{operation.name} with {odd!r:.200}"
    assert answer.status_code < 500, told
    if answer.status_code >= 400:
        check_problem(answer.status_code, answer["Content-Type"], answer.content)
    assert str(answer.status_code) in operation.described["responses"], (answer.status_code, told)


def example(schema: Mapping[str, Any]) -> object:
    """Something that the schema of a field allows."""
    kinds = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    if "enum" in schema:
        return schema["enum"][0]
    return kinds.get(str(schema.get("type")), "a red mug")


def bodies(operation: Operation) -> Iterator[bytes]:
    """A right body with one odd value, for every field and every value."""
    fields = operation.body.get("properties", {})
    required = {name: example(fields[name]) for name in operation.body.get("required", ())}
    for name in (*fields, "unknown_field"):
        others = [f"{json.dumps(n)}:{json.dumps(v)}" for n, v in required.items() if n != name]
        is_list = fields.get(name, {}).get("type") == "array"
        for odd in (*ODD_JSON, *(ODD_LISTS if is_list else ())):
            yield ("{" + ",".join([*others, f"{json.dumps(name)}:{odd}"]) + "}").encode()


by_name = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


@by_name
def test_odd_addresses(operation: Operation, program: Program) -> None:
    for name in operation.parameters("path"):
        for odd in filter(None, ODD_TEXTS):
            address = operation.address({**program.ids, name: odd.replace("{", "%7B")})
            answer = program.send(operation, address)
            if answer.status_code != 404:
                check(operation, answer, odd)
    for name in (*operation.parameters("query"), "unknown"):
        for odd in ODD_TEXTS:
            address = f"{operation.address(program.ids)}?{name}={odd}"
            check(operation, program.send(operation, address), (name, odd))


@by_name
def test_odd_bodies(operation: Operation, program: Program) -> None:
    for body in (*ODD_BODIES, *(bodies(operation) if operation.body else ())):
        check(operation, program.send(operation, body=body), body)


@by_name
def test_odd_headers(operation: Operation, program: Program) -> None:
    for name in operation.parameters("header"):
        for odd in ODD_HEADERS:
            if name.lower() != "prefer" or "wait=9" not in odd:
                check(operation, program.send(operation, headers={name: odd}), (name, odd))
    for content_type in CONTENT_TYPES:
        answer = program.send(operation, content_type=content_type)
        check(operation, answer, content_type)
    for accept in ACCEPTS:
        check(operation, program.send(operation, headers={"Accept": accept}), accept)


@by_name
def test_nobody_gets_in_without_a_valid_token(operation: Operation, program: Program) -> None:
    address = operation.address(program.ids)
    for odd in (None, "", "Bearer", "Bearer ", "Bearer x", "Basic eDp4", "Bearer \x00", "Bearer ü"):
        headers = {} if odd is None else {"Authorization": odd}
        answer = Client(headers=headers, raise_request_exception=False).generic(
            operation.method, address, b"{}", "application/json"
        )
        assert answer.status_code == 401, odd
        assert answer["WWW-Authenticate"] == "Bearer"
        check_problem(401, answer["Content-Type"], answer.content)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"prompt":"a","prompt":"b"}', "given_twice"),
        (b'{"prompt":"a","x":{"y":1,"y":2}}', "given_twice"),
        (b'{"prompt":"\\ud800"}', "not_text"),
        (b'{"\\udfff":1}', "not_text"),
    ],
)
def test_json_that_two_readers_take_differently(program: Program, body: bytes, code: str) -> None:
    submit = next(operation for operation in OPERATIONS if operation.name == "submit_job")
    answer = program.send(submit, body=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == code


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_job_that_has_ended_is_not_waited_for_in_vain(program: Program, seconds: int) -> None:
    """The output's job has ended: 200, however little time there is to see that."""
    get = next(operation for operation in OPERATIONS if operation.name == "get_job")
    answer = program.send(get, headers={"Prefer": f"wait={seconds}"})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
