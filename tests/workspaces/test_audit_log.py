"""Reading the audit log: page, file and API, filters and walls."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import Client
from django.utils import timezone
from ulid import ULID

from accounts.actors import Actor
from accounts.audit_log import Filters, Through, page_of
from accounts.models import AuditEvent, Organization, User
from accounts.roles import Permission
from accounts.services.audit import record_event, record_system
from accounts.token_limits import Limits
from jobs.services.leaving import remove_member
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope
from tests import factories
from tests.answers import text_of
from workspaces import audit_export
from workspaces.audit_export import as_csv, stream
from workspaces.audit_filters import parse_filters
from workspaces.audit_names import details_in_words
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def alices(client_of: Callable[[User], Client], alice: User) -> Client:
    return client_of(alice)


@pytest.fixture
def page(organization_a: Organization) -> str:
    return f"/o/{organization_a.pk}/audit"


def note(
    actor: Actor, action: str = "job.submitted", object_id: str = "job_1", **details: object
) -> None:
    with organization_scope(actor.organization_id):
        record_event(actor, action, object_id, details)


def noted_at(organization: Organization, at: datetime, object_id: str) -> None:
    """An event of another time; its id says so, too."""
    pk = f"aud_{ULID.from_datetime(at)}"
    AuditEvent.objects.create(
        id=pk, organization=organization, actor_id="usr_1", action="x.done", object_id=object_id
    )


def found(filters: Filters, organization: Organization) -> list[str]:
    with organization_scope(organization.pk):
        return [event.object_id for event in page_of(filters)[0]]


def test_the_page_says_who_did_what_by_names(
    alices: Client, alice: User, bob_in_a: Actor, workspace: Workspace, page: str
) -> None:
    User.objects.filter(pk=bob_in_a.user_id).update(name="Bob <b>")
    from_afar = replace(bob_in_a, address="192.0.2.7")
    note(from_afar, workspace=workspace.pk, pictures=4)

    text = alices.get(page).content.decode()

    assert "Bob &lt;b&gt;" in text
    assert "asked for pictures" in text
    assert "job_1 in Room" in text
    assert "<dt>pictures</dt><dd>4</dd>" in text
    assert "192.0.2.7" in text


def test_a_token_is_named(
    alices: Client, bob: User, organization_a: Organization, workspace: Workspace, page: str
) -> None:
    plain = factories.make_token(bob, organization_a, name="Night farm")
    api = Client(headers={"Authorization": f"Bearer {plain}"})
    made = api.post("/api/v1/tokens", {"name": "second"}, "application/json").json()
    assert "through Night farm" in text_of(alices.get(page, {"object": made["id"]}))


def test_filters(
    bob_in_a: Actor, alice_in_a: Actor, organization_a: Organization, workspace: Workspace
) -> None:
    through = bob_in_a.through_token(
        "tok_1", scopes=None, workspace_ids=frozenset(), requests_per_minute=None
    )
    note(bob_in_a, "job.submitted", "job_1", workspace=workspace.pk)
    note(alice_in_a, "job.canceled", "job_2", workspace="wsp_other")
    note(through, "output.trashed", "out_3")
    with organization_scope(organization_a.pk):
        record_system(organization_a.pk, "workspace.key_rotated", workspace.pk)

    def of(**wanted: Any) -> list[str]:  # noqa: ANN401  # fields of Filters
        return found(Filters(**wanted), organization_a)

    assert of() == [workspace.pk, "out_3", "job_2", "job_1"]
    assert of(actor=bob_in_a.user_id) == ["out_3", "job_1"]
    assert of(action="job.canceled") == ["job_2"]
    assert of(action="job") == ["job_2", "job_1"]
    assert of(action="jo") == []
    assert of(object_id="out_3") == ["out_3"]
    assert of(workspace=workspace.pk) == [workspace.pk, "job_1"]
    assert of(through=Through.TOKEN) == ["out_3"]
    assert of(through=Through.BROWSER) == ["job_2", "job_1"]
    assert of(within=frozenset({workspace.pk})) == [workspace.pk, "job_1"]
    assert of(within=frozenset({workspace.pk}), workspace="wsp_other") == []


def test_days_are_whole_and_in_the_readers_zone(
    organization_a: Organization, alice_in_a: Actor
) -> None:
    with organization_scope(organization_a.pk):
        for hour in (4, 5, 28, 29):
            at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour)
            noted_at(organization_a, at, f"h{hour}")
    wanted = {"from": "2026-11-01", "to": "2026-11-01", "zone": "America/Chicago"}
    assert found(parse_filters(wanted, alice_in_a), organization_a) == ["h29", "h28", "h5"]
    wanted = {"from": "2026-11-01", "to": "2026-11-01"}
    assert found(parse_filters(wanted, alice_in_a), organization_a) == ["h5", "h4"]
    wanted = {"from": "2026-11-01T05:00:00Z", "to": "2026-11-02T04:00:00+00:00"}
    assert found(parse_filters(wanted, alice_in_a), organization_a) == ["h5"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"from": "soon"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "to"),
        ({"through": "window"}, "through"),
        ({"object": "x" * 65}, "object"),
        ({"to": "9999-12-31T23:59:59-23:00"}, "to"),
    ],
)
def test_what_cannot_be_is_said_and_kept(
    alices: Client, alice_in_a: Actor, page: str, values: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_filters(values, alice_in_a)
    assert [problem.field for problem in caught.value.problems] == [field]
    answer = alices.get(page, values)
    assert answer.status_code == 422
    assert caught.value.problems[0].message in text_of(answer)
    assert alices.get(f"{page}/export", values).status_code == 422


def test_dates_at_the_ends_of_the_calendar_do_no_harm(alices: Client, page: str) -> None:
    for first in ("0001-01-01", "1969-01-01", "9999-12-31"):
        values = {"from": first, "to": "9999-12-31", "zone": "Asia/Tokyo"}
        assert alices.get(page, values).status_code in (200, 422)
    assert alices.get(page, {"object": "\0", "before": "\0"}).status_code == 422


def test_pages_hold_each_event_once(
    bob_in_a: Actor, organization_a: Organization, alices: Client, page: str
) -> None:
    for number in range(205):
        note(bob_in_a, object_id=f"job_{number}")
    seen: list[str] = []
    before, pages = "", 0
    while True:
        with organization_scope(organization_a.pk):
            events, before = page_of(Filters(action="job"), before=before)
        seen += [event.object_id for event in events]
        pages += 1
        if not before:
            break
        note(bob_in_a, object_id="meanwhile")
    assert (pages, len(seen), len(set(seen))) == (3, 205, 205)
    first = text_of(alices.get(page, {"action": "job"}))
    assert "Older" in first
    assert "Newest" not in first


def test_an_empty_log_and_an_empty_answer_say_so(alices: Client, page: str) -> None:
    assert "Nothing like this was noted." in text_of(alices.get(page, {"object": "job_x"}))


# ---- the file


def content_of(response: HttpResponseBase) -> str:
    assert isinstance(response, StreamingHttpResponse)

    async def read() -> bytes:
        return b"".join([part async for part in response])

    return async_to_sync(read)().decode()


# The file is read in threads of its own, with connections of their own.
reads_in_threads = pytest.mark.django_db(transaction=True)


@reads_in_threads
def test_the_file_holds_what_the_filters_leave_and_is_noted(
    alices: Client, alice: User, bob_in_a: Actor, organization_a: Organization, page: str
) -> None:
    note(bob_in_a, object_id="job_1", pictures=4)
    note(bob_in_a, "job.canceled", "job_2")

    answer = alices.get(f"{page}/export", {"format": "csv", "action": "job.submitted"})

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-org_')
    assert answer["Cache-Control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(content_of(answer))))
    assert [row["object"] for row in rows] == ["job_1"]
    assert json.loads(rows[0]["details"]) == {"pictures": 4}
    assert rows[0]["actor_name"] == "bob@alpha.example"
    with organization_scope(organization_a.pk):
        event = AuditEvent.objects.get(action="audit.exported")
    assert event.actor_id == alice.pk
    assert event.details == {"format": "csv", "action": "job.submitted"}


@reads_in_threads
def test_ndjson_is_an_object_a_line(alices: Client, bob_in_a: Actor, page: str) -> None:
    note(bob_in_a, object_id="job_1", roles=["a", "b"])
    answer = alices.get(f"{page}/export", {"format": "ndjson", "object": "job_1"})
    assert answer["Content-Type"] == "application/x-ndjson"
    (line,) = content_of(answer).splitlines()
    assert json.loads(line)["details"] == {"roles": ["a", "b"]}


def test_another_format_is_none(alices: Client, page: str) -> None:
    assert alices.get(f"{page}/export", {"format": "pdf"}).status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =1",
        "\n=1",
        "=cmd|' /C calc'!A0",
        "＝1",
    ],  # a wide sign is what is tried
)
def test_a_name_is_no_formula(name: str) -> None:
    event = AuditEvent(id="aud_1", actor_id="usr_1", object_id="=x", action="x.done", details={})
    event.created_at = timezone.now()
    row = audit_export.event_row(event, {"usr_1": name})
    (cells,) = csv.reader(io.StringIO(as_csv([row]), newline=""))
    assert cells[2] == f"'{name}"
    assert cells[6] == "'=x"
    assert len(cells) == len(audit_export.COLUMNS)


@pytest.mark.parametrize("name", ["a;=1+1", "a; +1", 'a;"=1"', "a;@x;=y", "a;＝1"])
def test_a_name_holds_no_formula_where_semicolons_part_cells(name: str) -> None:
    event = AuditEvent(id="aud_1", actor_id="usr_1", action="x.done", details={})
    event.created_at = timezone.now()
    text = as_csv([audit_export.event_row(event, {"usr_1": name})])
    cells = [cell.lstrip(' "') for cell in text.split(";")]
    assert all(cell[0] not in "=+-@＝" for cell in cells), text


@reads_in_threads
def test_nobody_of_another_organization_is_named_by_an_id_in_a_filter(
    alices: Client, page: str, charlie: User, bob: User, organization_a: Organization
) -> None:
    """What a reader typed is kept with the export: it must not become a look-up of people."""
    for person in (charlie, bob):
        content_of(alices.get(f"{page}/export", {"actor": person.pk}))
    text = alices.get(page).content.decode()
    assert charlie.pk in text
    assert charlie.email not in text
    assert bob.email in text


def test_who_has_left_is_still_named(
    alices: Client, page: str, alice_in_a: Actor, bob: User, bob_in_a: Actor
) -> None:
    note(bob_in_a)
    with organization_scope(alice_in_a.organization_id):
        remove_member(actor=alice_in_a, user_id=bob.pk)
    assert bob.email in alices.get(page).content.decode()


@reads_in_threads
def test_a_file_is_read_piece_by_piece(
    bob_in_a: Actor, organization_a: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_export, "BATCH", 10)
    for number in range(35):
        note(bob_in_a, object_id=f"job_{number}")

    async def read() -> list[str]:
        return [part async for part in stream(organization_a.pk, Filters(), "ndjson")]

    parts = async_to_sync(read)()
    assert [part.count("\n") for part in parts] == [10, 10, 10, 5]


def test_a_viewer_reads_and_exports_nothing(
    client_of: Callable[[User], Client], victor: User, charlie: User, page: str
) -> None:
    for address in (page, f"{page}/export"):
        assert client_of(victor).get(address).status_code == 403
        assert client_of(charlie).get(address).status_code == 404


# ---- the API


def api_with(user: User, organization: Organization, limits: Limits) -> Client:
    plain = factories.make_token(user, organization, limits=limits)
    return Client(headers={"Authorization": f"Bearer {plain}"})


def test_the_api_pages_and_filters_alike(
    alice: User, bob_in_a: Actor, organization_a: Organization
) -> None:
    for number in range(101):
        note(bob_in_a, object_id=f"job_{number}", pictures=1)
    limits = Limits(scopes=frozenset({Permission.AUDIT_VIEW.value}))
    api = api_with(alice, organization_a, limits)

    first = api.get("/api/v1/audit-events", {"actor": bob_in_a.user_id}).json()
    last = api.get(
        "/api/v1/audit-events", {"actor": bob_in_a.user_id, "before": first["next"]}
    ).json()

    assert (len(first["results"]), len(last["results"]), last["next"]) == (100, 1, None)
    newest = first["results"][0]
    assert newest["object"] == "job_100"
    assert newest["actor_name"] == "bob@alpha.example"
    assert newest["details"] == {"pictures": 1}
    refused = api.get("/api/v1/audit-events", {"from": "soon", "through": "x"})
    assert refused.status_code == 422
    assert [e["field"] for e in refused.json()["errors"]] == ["from", "through"]


def test_a_token_for_one_workspace_reads_what_was_done_there(
    alice: User, bob_in_a: Actor, organization_a: Organization, workspace: Workspace
) -> None:
    other = factories.make_workspace(organization_a, "Other")
    note(bob_in_a, object_id="job_here", workspace=workspace.pk)
    note(bob_in_a, object_id="job_there", workspace=other.pk)
    api = api_with(alice, organization_a, Limits(workspace_ids=frozenset({workspace.pk})))
    for query in ({}, {"workspace": other.pk}, {"object": "job_there"}):
        answer = api.get("/api/v1/audit-events", query)
        assert answer.status_code == 200
        assert "job_there" not in answer.content.decode()
    assert "job_here" in api.get("/api/v1/audit-events").content.decode()


def test_details_in_words() -> None:
    names = {"usr_1": "Bob"}
    details = {"new_role": "artist", "user": "usr_1", "on": True, "all": [], "end": None, "n": 3}
    assert details_in_words(details, names) == [
        ("new role", "artist"),
        ("user", "Bob"),
        ("on", "yes"),
        ("all", "none"),
        ("end", "none"),
        ("n", "3"),
    ]
    ends = {"expires_at": "2027-01-31T12:00:00+00:00"}
    assert details_in_words(ends, {}) == [("expires at", "31 Jan 2027, 12:00 UTC")]
    assert details_in_words({"role": {"from": "a", "to": "b"}}, {}) == [("role", "from a, to b")]
