"""What is behind a share link. Whoever has the address may look: nobody is signed in here.

The address is the secret, so it must not leave: pages send no referrer, and what goes wrong is
logged here, without the address, and not by Django, which would write the path.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt

from accounts.addresses import client_address
from accounts.http import public
from gpuagent.protocol.sealing import SealBrokenError
from jobs.models import Output
from jobs.presenters import is_see_through
from jobs.recipes import open_manifest, open_recipe
from jobs.services.sharing import text_of
from jobs.shares import (
    PASS_SECONDS,
    find_share,
    get_shared_output,
    has_passed,
    is_right,
    may_try,
    neighbors_of,
    note_visit,
    pass_for,
    shared_outputs,
    shared_page,
)
from jobs.watermark import make_anew
from studio.core.errors import BusyError, NotFoundError
from studio.core.scoping import organization_scope
from workspaces.models import Artifact, ShareLink
from workspaces.services.artifacts import read_all
from workspaces.views import deliver

PASS_COOKIE = "share"  # noqa: S105  # the name of a cookie
POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; font-src 'self'; script-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REASON = "whoever has the address may look: it holds 256 random bits and can be revoked"
logger = logging.getLogger(__name__)
View = Callable[..., HttpResponseBase]


def share_page(*methods: str) -> Callable[[View], View]:
    """A view behind a link's address; it gets the link, inside its organization's scope."""

    def decorate(view: View) -> View:
        @csrf_exempt  # no session to protect: all that can be posted is the link's own password
        @wraps(view)
        def wrapper(request: HttpRequest, token: str, **ids: str) -> HttpResponseBase:
            return _sealed_off(_answer(view, methods, request, token, ids))

        return public(REASON)(wrapper)

    return decorate


def _answer(
    view: View, methods: tuple[str, ...], request: HttpRequest, token: str, ids: dict[str, str]
) -> HttpResponseBase:
    before = request.GET.get("before", "")
    if "\x00" in "".join((before, *ids.values())):  # no id has it, and the database refuses it
        return dead_end()
    try:
        link = find_share(token) if request.method in methods else None
        if link is None:
            return dead_end()
        with organization_scope(link.organization_id):
            return view(request, link, token, **ids)
    except (NotFoundError, SealBrokenError, FileNotFoundError):
        return dead_end()
    except BusyError as error:
        return _plain(error.message, 503)
    except (OperationalError, InterfaceError) as error:
        logger.warning("a shared page found no database (%s)", type(error).__name__)
        return _plain("The studio's database does not answer. Try again in a moment.", 503)
    except Exception as error:  # Django would log the address
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else "?"
        logger.error("a shared page failed (%s at %s)", type(error).__name__, where)
        return _plain("Something went wrong here. Try again.", 500)


def _sealed_off(answer: HttpResponseBase) -> HttpResponseBase:
    """Nothing is kept, indexed, framed, embedded elsewhere, or told where it was found."""
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers.setdefault("Content-Security-Policy", POLICY)
    answer._has_been_logged = True  # type: ignore[attr-defined]  # Django's own mark: its log line would hold the path
    return answer


def _render(template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Without the request: no page here knows of a session or sets a cookie by itself."""
    return HttpResponse(render_to_string(f"shared/{template}", context), status=status)


def _plain(sentence: str, status: int) -> HttpResponse:
    answer = _render("notice.html", {"sentence": sentence}, status)
    if status == 503:
        answer.headers["Retry-After"] = "5"
    return answer


def dead_end() -> HttpResponse:
    """One page for whatever leads nowhere: it tells nobody which of the reasons it is."""
    return _render("dead_end.html", {}, 404)


@public("tells that the address leads nowhere, whatever it is")
@csrf_exempt
def nowhere(request: HttpRequest, rest: str) -> HttpResponseBase:
    """Addresses that only look like a link's: Django's own answer would log the path."""
    return _sealed_off(dead_end())


@share_page("GET", "HEAD", "POST")
def shared(request: HttpRequest, link: ShareLink, token: str) -> HttpResponseBase:
    """The pictures, or the question for the password and its answer."""
    if request.method == "POST":
        return _check_password(request, link, token)
    if not _has_passed(request, link):
        return _render("password.html", {"action": request.path})
    outputs, next_before = shared_page(link, before=request.GET.get("before"))
    total = shared_outputs(link).count()
    if not total and link.project_id is None:
        return dead_end()  # all of the chosen pictures are in the trash
    _count(request, link)
    context = {
        **_head(link, token),
        "tiles": [_tile(output, token) for output in outputs],
        "total": total,
        "is_first": not request.GET.get("before"),
        "next_url": f"{request.path}?before={next_before}" if next_before else None,
    }
    return _render("pictures.html", context)


@share_page("GET", "HEAD")
def shared_picture_page(
    request: HttpRequest, link: ShareLink, token: str, output_id: str
) -> HttpResponseBase:
    """One picture, large."""
    if not _has_passed(request, link):
        return _render("password.html", {"action": reverse("shared", args=[token])})
    output = get_shared_output(link, output_id)
    _count(request, link)
    newer, older = neighbors_of(link, output)
    context = {
        **_head(link, token),
        "picture": _tile(output, token),
        "newer_url": newer and reverse("shared-page", args=[token, newer]),
        "older_url": older and reverse("shared-page", args=[token, older]),
        "facts": _facts(output) if link.shows_metadata else None,
    }
    return _render("picture.html", context)


@share_page("GET", "HEAD")
def shared_picture(
    request: HttpRequest, link: ShareLink, token: str, output_id: str
) -> HttpResponseBase:
    """The bytes of a picture, as the link allows."""
    return _bytes(request, link, output_id, is_small=False)


@share_page("GET", "HEAD")
def shared_thumbnail(
    request: HttpRequest, link: ShareLink, token: str, output_id: str
) -> HttpResponseBase:
    """The bytes of a small one."""
    return _bytes(request, link, output_id, is_small=True)


def _bytes(
    request: HttpRequest, link: ShareLink, output_id: str, *, is_small: bool
) -> HttpResponseBase:
    if not _has_passed(request, link):
        return dead_end()
    output = get_shared_output(link, output_id)
    artifact: Artifact = output.thumbnail if is_small else output.picture
    if link.shows_metadata and not link.has_watermark:
        return deliver(request, artifact)
    mark = text_of(link).watermark if link.has_watermark else ""
    content = make_anew(read_all(artifact), watermark=mark)
    answer = HttpResponse(content, content_type=artifact.media_type)
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _check_password(request: HttpRequest, link: ShareLink, token: str) -> HttpResponseBase:
    """Right: on to the pictures, with a pass that this browser keeps for this link alone."""
    here = reverse("shared", args=[token])
    if not link.password_hash:
        return dead_end()
    if not may_try(link, address=client_address(request)):
        context = {"action": here, "problem": "Too many tries. Wait some minutes, then try again."}
        return _render("password.html", context, 429)
    if not is_right(link, request.POST.get("password", "")[:1_000]):
        context = {"action": here, "problem": "That is not the password of this link."}
        return _render("password.html", context, 422)
    answer = HttpResponseRedirect(here)
    answer.set_cookie(
        PASS_COOKIE,
        pass_for(link),
        max_age=PASS_SECONDS,
        path=here,
        secure=settings.IS_HTTPS,
        httponly=True,
        samesite="Lax",
    )
    return answer


def _has_passed(request: HttpRequest, link: ShareLink) -> bool:
    return has_passed(link, request.COOKIES.get(PASS_COOKIE, ""))


def _count(request: HttpRequest, link: ShareLink) -> None:
    """Count the visit; whoever asks for the head alone, or ahead of a click, has seen nothing."""
    purpose = request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")
    if request.method == "GET" and "prefetch" not in purpose:
        browser = request.headers.get("User-Agent", "")
        note_visit(link, address=client_address(request), browser=browser)


def _head(link: ShareLink, token: str) -> dict[str, Any]:
    return {
        "title": text_of(link).title,
        "organization": link.workspace.organization.name,
        "expires_at": link.expires_at,
        "home_url": reverse("shared", args=[token]),
    }


def _tile(output: Output, token: str) -> dict[str, Any]:
    return {
        "id": output.pk,
        "url": reverse("shared-page", args=[token, output.pk]),
        "picture_url": reverse("shared-picture", args=[token, output.pk]),
        "thumb_url": reverse("shared-thumbnail", args=[token, output.pk]),
        "width": output.picture.width,
        "height": output.picture.height,
        "is_see_through": is_see_through(output),
        "created_at": output.created_at,
    }


def _facts(output: Output) -> dict[str, Any]:
    """Prompt, seed and model, where the link shows them."""
    recipe = open_recipe(output.job).only(output.index)
    model = open_manifest(output).get("model")
    name = model.get("name", "") if isinstance(model, dict) else ""
    return {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "seed": output.seed,
        "model": name,
    }
