"""Share links: what somebody outside gets to see, and what nobody does."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone
from PIL import Image, ImageChops, PngImagePlugin

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization
from jobs import shares
from jobs.models import Output
from jobs.services.outputs import trash_output
from jobs.services.sharing import DAYS_MAX, Terms, create_share, revoke_share
from jobs.views import shared as views
from jobs.watermark import PixelBudget, make_anew, undrawable
from studio.core.errors import BusyError, ForbiddenError, InvalidInputError
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import Answer, text_of
from tests.factories import PROMPT, AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import ShareLink, Workspace
from workspaces.services.artifacts import read_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]
SECRET = "CANARYTEXTCHUNK7Q"
PASSWORD = "client password"


@pytest.fixture(autouse=True)
def _pictures_with_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures as agents make them: with prompt and settings inside."""

    def make(color: str = "teal", *, size: tuple[int, int] = (64, 64)) -> bytes:
        texts = PngImagePlugin.PngInfo()
        texts.add_text("parameters", SECRET)
        texts.add_itxt("XML:com.adobe.xmp", SECRET)
        exif = Image.Exif()
        exif[0x010E] = SECRET
        buffer = io.BytesIO()
        Image.new("RGB", size, color).save(buffer, "PNG", pnginfo=texts, exif=exif)
        return buffer.getvalue()

    monkeypatch.setattr(factories, "make_png", make)


@pytest.fixture
def visitor() -> Client:
    """Somebody who is not signed in."""
    return Client(headers={"User-Agent": "one"})


@pytest.fixture
def link(bob_in_a: Actor, workspace: Workspace, output: Output) -> tuple[ShareLink, str]:
    return factories.make_share(bob_in_a, workspace, outputs=[output], title="For the client")


def body(response: Answer) -> bytes:
    if response.streaming:
        return b"".join(response)
    return bytes(response.content)


def pixels(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def original(output: Output) -> bytes:
    with system_scope():
        return read_all(Output.objects.select_related("picture__workspace").get().picture)


# ------------------------------------------------------------------ what is seen


def test_whoever_has_the_address_sees_the_pictures_and_no_more(
    visitor: Client, link: tuple[ShareLink, str], output: Output
) -> None:
    row, token = link

    page, one = visitor.get(f"/s/{token}"), visitor.get(f"/s/{token}/{output.pk}")

    assert (page.status_code, one.status_code) == (200, 200)
    for text in (text_of(page), text_of(one)):
        assert "For the client" in text
        assert f"/s/{token}/" in text
        for hidden in (PROMPT, "/media/", output.job_id, output.picture_id, "csrf", "/w/"):
            assert hidden not in text
    assert "Seed" not in text_of(one)
    assert token not in repr(row.__dict__)


def test_prompt_seed_and_model_are_shown_where_the_link_says_so(
    visitor: Client, bob_in_a: Actor, workspace: Workspace, output: Output
) -> None:
    _row, token = factories.make_share(bob_in_a, workspace, outputs=[output], shows_metadata=True)
    text = text_of(visitor.get(f"/s/{token}/{output.pk}"))
    for shown in (PROMPT, "Seed", str(output.seed), "House"):
        assert shown in text
    whole = visitor.get(f"/s/{token}/pictures/{output.pk}")
    assert body(whole) == original(output)


@pytest.mark.parametrize("kind", ["pictures", "thumbnails"])
def test_without_metadata_the_file_holds_pixels_alone(
    visitor: Client, link: tuple[ShareLink, str], output: Output, kind: str
) -> None:
    content = body(visitor.get(f"/s/{link[1]}/{kind}/{output.pk}"))
    assert SECRET.encode() in original(output)
    assert SECRET.encode() not in content
    picture = Image.open(io.BytesIO(content))
    assert not picture.getexif()
    assert not set(picture.info) & {"parameters", "xmp", "XML:com.adobe.xmp", "exif", "icc_profile"}
    if kind == "pictures":
        chunks = [content[at : at + 4] for at in _chunks(content)]
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
        assert ImageChops.difference(pixels(content), pixels(original(output))).getbbox() is None


def _chunks(png: bytes) -> Iterator[int]:
    at = 8
    while at < len(png):
        yield at + 4
        at += 12 + int.from_bytes(png[at : at + 4], "big")


@pytest.mark.parametrize("shows_metadata", [True, False])
@pytest.mark.parametrize("kind", ["pictures", "thumbnails"])
def test_a_watermark_is_in_the_pixels_of_whatever_is_delivered(
    visitor: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    output: Output,
    kind: str,
    shows_metadata: bool,
) -> None:
    plain = factories.make_share(bob_in_a, workspace, outputs=[output])[1]
    marked = factories.make_share(
        bob_in_a, workspace, outputs=[output], has_watermark=True, shows_metadata=shows_metadata
    )[1]
    before, after = (
        body(visitor.get(f"/s/{token}/{kind}/{output.pk}")) for token in (plain, marked)
    )
    assert SECRET.encode() not in after
    difference = ImageChops.difference(pixels(before), pixels(after)).convert("L")
    changed = sum(difference.histogram()[24:])
    assert changed > difference.width * difference.height // 50


@pytest.mark.parametrize("color", ["black", "white", "#808080", "#ff7f00"])
def test_the_watermark_stands_out_on_every_ground(color: str) -> None:
    ground = factories.make_webp(color, size=(300, 200))
    marked = pixels(make_anew(ground, watermark="Alpha"))
    other = pixels(make_anew(ground, watermark="Another studio"))
    levels = marked.convert("L").getextrema()
    assert isinstance(levels[0], int)
    assert levels[1] - levels[0] > 40
    assert ImageChops.difference(marked, other).getbbox() is not None


def test_transparent_and_gray_pictures_are_marked_too() -> None:
    for mode, size in (("RGBA", (64, 64)), ("L", (40, 90)), ("P", (64, 64)), ("LA", (64, 64))):
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, "PNG")
        marked = Image.open(io.BytesIO(make_anew(buffer.getvalue(), watermark="Alpha")))
        assert marked.size == size
        assert len(marked.convert("RGBA").getcolors(10_000) or ()) > 1


def test_a_project_is_shared_as_it_grows(
    visitor: Client, bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, output: Output
) -> None:
    project = factories.make_project(bob_in_a, workspace)
    _row, token = factories.make_share(bob_in_a, workspace, project=project)
    assert "No pictures yet" in text_of(visitor.get(f"/s/{token}"))
    with system_scope():
        Output.objects.update(project=project)
    assert output.pk in text_of(visitor.get(f"/s/{token}"))
    assert visitor.get(f"/s/{token}/pictures/{output.pk}").status_code == 200


def test_many_pictures_come_in_pages(
    visitor: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares.shared_page, "__kwdefaults__", {"size": 2})
    made = [factories.make_output(bob_in_a, workspace, agent.row) for _ in range(3)]
    _row, token = factories.make_share(bob_in_a, workspace, outputs=made)

    first = text_of(visitor.get(f"/s/{token}"))
    assert f"/s/{token}?before={made[1].pk}" in first
    assert made[0].pk not in first
    second = text_of(visitor.get(f"/s/{token}?before={made[1].pk}"))
    assert made[0].pk in second
    assert "before=" not in second
    middle = text_of(visitor.get(f"/s/{token}/{made[1].pk}"))
    assert f"/s/{token}/{made[0].pk}" in middle
    assert f"/s/{token}/{made[2].pk}" in middle
    assert visitor.get(f"/s/{token}?before=%00").status_code == 404


# ------------------------------------------------------------------ what leads nowhere


def test_whatever_leads_nowhere_gets_the_same_page(
    visitor: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    link: tuple[ShareLink, str],
    output: Output,
) -> None:
    row, token = link
    other = factories.make_output(bob_in_a, workspace, agent.row)
    unknown = visitor.get(f"/s/{'x' * 43}")
    assert unknown.status_code == 404

    def check(*paths: str) -> None:
        for path in paths:
            for method in ("get", "head", "post", "put", "delete"):
                answer = getattr(visitor, method)(path)
                assert answer.status_code == 404, (method, path)
                if method != "head":
                    assert answer.content == unknown.content, (method, path)

    everything = [
        f"/s/{token}{path}"
        for path in (
            "",
            f"/{output.pk}",
            f"/pictures/{output.pk}",
            f"/thumbnails/{output.pk}",
        )
    ]
    # Another picture of the workspace, what is no id, what only looks like an address.
    check(
        f"/s/{token}/pictures/{other.pk}",
        f"/s/{token}/thumbnails/{other.pk}",
        f"/s/{token}/{other.pk}",
        f"/s/{token}/pictures/out_%00",
        f"/s/{token}/pictures/{output.picture_id}",
        f"/s/{token}/a/b/c",
        f"/s/{token}/",
    )
    with system_scope():
        trash_output(output=output, actor=bob_in_a)
        check(*everything)
        Output.objects.update(trashed_at=None)
        for ended in (
            {"expires_at": timezone.now()},
            {"revoked_at": timezone.now()},
        ):
            kept = {name: getattr(row, name) for name in ended}
            ShareLink.objects.update(**ended)
            check(*everything)
            ShareLink.objects.update(**kept)
        Workspace.objects.update(deleted_at=timezone.now())
        check(*everything)
        Workspace.objects.update(deleted_at=None, wrapped_key=b"destroyed" * 5)
        assert visitor.get(f"/s/{token}").content == unknown.content


def test_every_answer_is_closed_to_others_and_sets_no_cookie(
    visitor: Client, link: tuple[ShareLink, str], output: Output
) -> None:
    token = link[1]
    for path in ("", f"/{output.pk}", f"/pictures/{output.pk}", f"/thumbnails/{output.pk}", "/no"):
        answer = visitor.get(f"/s/{token}{path}")
        assert answer["Cache-Control"] == "no-store"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert "noindex" in answer["X-Robots-Tag"]
        assert answer["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["X-Frame-Options"] == "DENY"
        assert not answer.cookies
        assert "Vary" not in answer.headers or "Cookie" not in answer["Vary"]


def test_the_address_reaches_no_log_whatever_goes_wrong(
    visitor: Client,
    link: tuple[ShareLink, str],
    output: Output,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = link[1]
    caplog.set_level(logging.DEBUG)
    for name in ("django.request", "django.security.csrf", "django"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.DEBUG)

    def fail(*_args: object, **_named: object) -> None:
        raise RuntimeError(token)

    visitor.get(f"/s/{token}")
    visitor.put(f"/s/{token}")
    visitor.get(f"/s/{token}/out_0")
    visitor.get(f"/s/{token}/a/b/c")
    Client(enforce_csrf_checks=True).post(f"/s/{token}", {"password": "x"})
    monkeypatch.setattr(views, "shared_page", fail)
    assert visitor.get(f"/s/{token}").status_code == 500
    assert "a shared page failed (RuntimeError" in caplog.text
    for record in caplog.records:
        assert token not in f"{record.getMessage()} {record.args!r} {record.exc_text}"


# ------------------------------------------------------------------ the password


@pytest.fixture
def guarded(bob_in_a: Actor, workspace: Workspace, output: Output) -> str:
    """The secret of a link with a password."""
    return factories.make_share(
        bob_in_a, workspace, outputs=[output], password=PASSWORD, title="Behind a password"
    )[1]


def test_the_password_opens_this_link_in_this_browser(
    visitor: Client, guarded: str, output: Output, bob_in_a: Actor, workspace: Workspace
) -> None:
    path = f"/s/{guarded}"
    for closed in (path, f"{path}/{output.pk}"):
        text = text_of(visitor.get(closed))
        assert "Password" in text
        assert "Behind a password" not in text
        assert output.pk not in text
    for closed in (f"{path}/pictures/{output.pk}", f"{path}/thumbnails/{output.pk}"):
        assert visitor.get(closed).status_code == 404

    wrong = visitor.post(path, {"password": "guess"})
    right = visitor.post(path, {"password": PASSWORD})

    assert (wrong.status_code, bool(wrong.cookies)) == (422, False)
    assert (right.status_code, right["Location"]) == (302, path)
    cookie = right.cookies["share"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == (path, True, "Lax")
    assert 0 < cookie["max-age"] <= 24 * 3600
    assert guarded not in cookie.value
    assert "Behind a password" in text_of(visitor.get(path))
    assert visitor.get(f"{path}/pictures/{output.pk}").status_code == 200
    # The pass is of this link alone, and of nobody who changes it.
    other = factories.make_share(bob_in_a, workspace, outputs=[output], password=PASSWORD)[1]
    for kept in (cookie.value, cookie.value[:-1] + "x", "x"):
        stranger = Client(headers={"Cookie": f"share={kept}"})
        place = other if kept == cookie.value else guarded
        assert output.pk not in text_of(stranger.get(f"/s/{place}"))
    with system_scope():
        ShareLink.objects.update(password_hash="changed")
    assert "Password" in text_of(visitor.get(path))


def test_guessing_is_stopped_even_for_who_guesses_right_at_last(
    visitor: Client, guarded: str
) -> None:
    path = f"/s/{guarded}"
    answers = [visitor.post(path, {"password": f"guess {n}"}).status_code for n in range(7)]
    assert answers == [422] * shares.TRIES_BY_ONE + [429] * (7 - shares.TRIES_BY_ONE)
    assert visitor.post(path, {"password": PASSWORD}).status_code == 429
    # Somebody elsewhere is not locked out by that.
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert elsewhere.post(path, {"password": PASSWORD}).status_code == 302


def test_many_who_guess_together_are_stopped_too(
    guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "TRIES_BY_ALL", 3)
    codes = [
        Client(REMOTE_ADDR=f"192.0.2.{n}").post(f"/s/{guarded}", {"password": "x"}).status_code
        for n in range(5)
    ]
    assert codes == [422, 422, 422, 429, 429]


# ------------------------------------------------------------------ visits


def test_visits_are_counted_not_pictures(
    visitor: Client, link: tuple[ShareLink, str], output: Output
) -> None:
    row, token = link

    def opens() -> int:
        with system_scope():
            row.refresh_from_db()
        return row.opens

    visitor.head(f"/s/{token}")
    visitor.get(f"/s/{token}", headers={"Sec-Purpose": "prefetch"})
    visitor.get(f"/s/{token}/thumbnails/{output.pk}")
    assert opens() == 0
    for path in ("", "", f"/{output.pk}", f"/pictures/{output.pk}"):
        visitor.get(f"/s/{token}{path}")
    assert opens() == 1
    assert row.last_opened_at is not None
    Client(headers={"User-Agent": "another"}).get(f"/s/{token}")
    assert opens() == 2


def test_a_visit_behind_a_password_counts_once_it_is_given(guarded: str, visitor: Client) -> None:
    visitor.get(f"/s/{guarded}")
    with system_scope():
        assert ShareLink.objects.get().opens == 0
    visitor.post(f"/s/{guarded}", {"password": PASSWORD}, follow=True)
    with system_scope():
        assert ShareLink.objects.get().opens == 1


# ------------------------------------------------------------------ making and ending


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (Terms(days=0), "days"),
        (Terms(days=DAYS_MAX + 1), "days"),
        (Terms(title="x" * 121), "title"),
        (Terms(password="short"), "password"),
        (Terms(password="x" * 201), "password"),
        (Terms(has_watermark=True, watermark_text="x" * 61), "watermark_text"),
        (Terms(has_watermark=True, watermark_text="\U0001f9a9"), "watermark_text"),
    ],
)
def test_terms_that_cannot_be_are_named(
    bob_in_a: Actor, workspace: Workspace, output: Output, terms: Terms, field: str
) -> None:
    with system_scope(), pytest.raises(InvalidInputError) as refused:
        create_share(actor=bob_in_a, workspace=workspace, terms=terms, output_ids=[output.pk])
    assert [p.field for p in refused.value.problems] == [field]


def test_western_letters_can_be_a_watermark() -> None:
    assert undrawable("Müller & Søn: Café №1".replace("№", "No ")) == []


def test_only_pictures_and_projects_of_the_workspace_can_be_shared(
    bob_in_a: Actor,
    victor_in_a: Actor,
    organization_a: Organization,
    workspace: Workspace,
    agent: AgentHandle,
    output: Output,
) -> None:
    beside = factories.make_workspace(organization_a, "Beside")
    foreign = factories.make_output(bob_in_a, beside, agent.row)
    project = factories.make_project(bob_in_a, beside)
    with system_scope():
        for wrong in (
            {"output_ids": [output.pk, foreign.pk]},
            {"project": project},
            {"project": project, "output_ids": [output.pk]},
            {},
        ):
            with pytest.raises(InvalidInputError):
                create_share(actor=bob_in_a, workspace=workspace, terms=Terms(), **wrong)
        with pytest.raises(ForbiddenError):
            create_share(
                actor=victor_in_a, workspace=workspace, terms=Terms(), output_ids=[output.pk]
            )
        assert not ShareLink.objects.exists()


def test_revoking_ends_it_at_once_and_both_are_in_the_audit_log(
    visitor: Client, bob_in_a: Actor, link: tuple[ShareLink, str]
) -> None:
    row, token = link
    assert visitor.get(f"/s/{token}").status_code == 200
    with system_scope():
        assert revoke_share(actor=bob_in_a, link=row)
        assert not revoke_share(actor=bob_in_a, link=row)
        events = AuditEvent.objects.filter(object_id=row.pk).order_by("pk")
        assert [event.action for event in events] == ["share.created", "share.revoked"]
        assert "client" not in repr(list(events.values()))
    assert visitor.get(f"/s/{token}").status_code == 404


def test_the_page_makes_a_link_shows_it_once_and_takes_it_back(
    bobs: Client, visitor: Client, room: str, output: Output
) -> None:
    form = {"what": "pictures", "outputs": [output.pk], "days": "14", "title": "For the client"}
    proposed = text_of(bobs.get(f"{room}/shares/new?output={output.pk}"))
    assert f'value="{output.pk}" checked' in proposed

    bad = bobs.post(f"{room}/shares/new", {**form, "days": "900", "password": "x"})
    assert bad.status_code == 422
    for kept in ("900 days cannot be", 'value="For the client"', f'{output.pk}" checked'):
        assert kept in text_of(bad)

    made = bobs.post(f"{room}/shares/new", form)
    assert made.status_code == 201
    (address,) = {part.split("<")[0] for part in text_of(made).split("data-copy>")[1:]}
    path = "/s/" + address.rpartition("/s/")[2]
    assert visitor.get(path).status_code == 200
    listed = text_of(bobs.get(f"{room}/shares"))
    assert "For the client" in listed
    assert path not in listed
    with system_scope():
        revoke = f"{room}/shares/{ShareLink.objects.get().pk}/revoke"
    assert [bobs.post(revoke).status_code for _ in range(2)] == [302, 302]
    assert visitor.get(path).status_code == 404
    assert "revoked" in text_of(bobs.get(f"{room}/shares"))


def test_the_api_makes_lists_and_revokes(bob_api: Client, visitor: Client, output: Output) -> None:
    wrong = {"outputs": [output.pk], "days": "14", "has_watermark": 1, "title": 3}
    fields = {e["field"] for e in problem(post(bob_api, "/api/v1/shares", wrong))["errors"]}
    assert fields == {"days", "has_watermark", "title"}
    made = post(bob_api, "/api/v1/shares", {"outputs": [output.pk], "has_watermark": True})
    new = made.json()
    assert made.status_code == 201
    path = "/s/" + new.pop("url").rpartition("/s/")[2]
    assert visitor.get(path).status_code == 200

    listed = bob_api.get("/api/v1/shares").json()
    assert [share["opens"] for share in listed] == [1]
    assert {**listed[0], "opens": 0, "last_opened_at": None} == new
    one = f"/api/v1/shares/{new['id']}"
    assert [bob_api.delete(one).status_code for _ in range(2)] == [204, 204]
    assert bob_api.get(one).json()["revoked_at"] is not None
    assert visitor.get(path).status_code == 404


# ------------------------------------------------------------------ large pictures


def test_only_so_many_pixels_are_at_work_at_once() -> None:
    budget = PixelBudget(10_000_000, waiting=1, seconds=0.05)
    with budget.hold(9_000_000):
        with pytest.raises(BusyError), budget.hold(2_000_000):
            pass
        with budget.hold(1_000_000):  # thumbnails do not queue
            pass
    with budget.hold(99_000_000):  # larger than all: alone
        pass


def test_whoever_waits_gets_their_turn_and_too_many_do_not_wait() -> None:
    budget, got, inside = PixelBudget(10_000_000, waiting=1, seconds=10), [], threading.Event()

    def wait() -> None:
        with budget.hold(5_000_000):
            got.append(1)

    waiter = threading.Thread(target=wait)
    with budget.hold(9_000_000):
        waiter.start()
        while budget._waiting._value:
            inside.wait(0.01)
        with pytest.raises(BusyError), budget.hold(5_000_000):
            pass
        assert got == []
    waiter.join(5)
    assert got == [1]


def test_a_busy_studio_asks_to_come_back(
    visitor: Client,
    link: tuple[ShareLink, str],
    output: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy(*_args: object, **_named: object) -> bytes:
        raise BusyError(what="Busy.")

    monkeypatch.setattr(views, "make_anew", busy)
    answer = visitor.get(f"/s/{link[1]}/pictures/{output.pk}")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
