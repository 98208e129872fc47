"""Share links: made, revoked. Their address is shown once; only its hash is kept."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.sealing import SealBrokenError
from jobs.services.placing import checked_outputs
from jobs.watermark import TEXT_MAX, undrawable
from studio.core.errors import InvalidInputError
from studio.core.ids import new_id
from workspaces.access import require_in
from workspaces.models import Project, ShareLink, Workspace
from workspaces.services.keys import open_in, seal_in

DAYS_DEFAULT, DAYS_MAX = 14, 365
TITLE_MAX = 120
PASSWORD_MIN, PASSWORD_MAX = 8, 200
TITLE_DEFAULT = "Shared pictures"
TITLE_KIND = "share_title"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How something is shared. No password: the address is enough; no text: the organization's."""

    title: str = ""
    days: int = DAYS_DEFAULT
    password: str = ""
    has_watermark: bool = False
    watermark_text: str = ""
    shows_metadata: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareText:
    """What a link says in words: over its page, and over its pictures."""

    title: str
    watermark: str


def hash_of(token: str) -> str:
    """How an address is stored; with 256 random bits it needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def text_of(link: ShareLink) -> ShareText:
    """The words of a link.

    Raises:
        SealBrokenError: its key is gone.
    """
    sealed = bytes(link.sealed_title)
    opened = open_in(link.workspace, sealed, kind=TITLE_KIND, object_id=link.pk)
    return ShareText(**json.loads(opened))


def title_of(link: ShareLink) -> str:
    """The link's title for lists, or a remark where its key is gone."""
    try:
        return text_of(link).title
    except SealBrokenError:
        return "(cannot be opened)"


@transaction.atomic
def create_share(
    *,
    actor: Actor,
    workspace: Workspace,
    terms: Terms,
    project: Project | None = None,
    output_ids: Sequence[str] = (),
) -> tuple[ShareLink, str]:
    """Share a project as it grows, or these pictures; the link and the secret of its address.

    Raises:
        InvalidInputError: nothing to share, or a term cannot be; every field is named.
    """
    require_in(actor, workspace, Permission.SHARE_MANAGE)
    words = _checked(workspace, terms)
    if (project is None) == (not output_ids):
        message = "Choose a project, or pictures: one of the two."
        raise InvalidInputError([_problem("outputs", "nothing_to_share", message)])
    if project is not None and project.workspace_id != workspace.pk:
        message = "That project is not in this workspace."
        raise InvalidInputError([_problem("project", "unknown_project", message)])
    chosen = checked_outputs(workspace, output_ids)
    token, share_id = secrets.token_urlsafe(32), new_id("shr")
    sealed = json.dumps({"title": words.title, "watermark": words.watermark}).encode()
    link = ShareLink.objects.create(
        id=share_id,
        organization_id=workspace.organization_id,
        workspace=workspace,
        project=project,
        output_ids=chosen,
        sealed_title=seal_in(workspace, sealed, kind=TITLE_KIND, object_id=share_id),
        token_hash=hash_of(token),
        password_hash=make_password(terms.password) if terms.password else "",
        has_watermark=terms.has_watermark,
        shows_metadata=terms.shows_metadata,
        created_by_id=actor.user_id,
        expires_at=timezone.now() + timedelta(days=terms.days),
    )
    details: dict[str, object] = {
        "workspace": workspace.pk,
        "days": terms.days,
        "has_password": bool(terms.password),
        "has_watermark": terms.has_watermark,
        "shows_metadata": terms.shows_metadata,
    }
    details |= {"project": project.pk} if project else {"pictures": len(chosen)}
    record_event(actor, "share.created", link.pk, details)
    return link, token


@transaction.atomic
def revoke_share(*, actor: Actor, link: ShareLink) -> bool:
    """End a link at once; False if it was revoked already."""
    require_in(actor, link.workspace, Permission.SHARE_MANAGE, noun="share link")
    now = timezone.now()
    if not ShareLink.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=now):
        return False
    link.revoked_at = now
    details = {"workspace": link.workspace_id, "opens": link.opens}
    record_event(actor, "share.revoked", link.pk, details)
    return True


def _checked(workspace: Workspace, terms: Terms) -> ShareText:
    """The words of the link, if all terms can be."""
    title = " ".join(terms.title.split())
    text = " ".join(terms.watermark_text.split()) or workspace.organization.name
    problems = [*_term_problems(title, terms), *_watermark_problems(text, terms)]
    if problems:
        raise InvalidInputError(problems)
    return ShareText(title=title or TITLE_DEFAULT, watermark=text if terms.has_watermark else "")


def _term_problems(title: str, terms: Terms) -> list[FieldProblem]:
    found = []
    if len(title) > TITLE_MAX:
        message = f"The title has {len(title)} characters; at most {TITLE_MAX} fit."
        found.append(_problem("title", "too_long", message, len(title), TITLE_MAX))
    if not title.isprintable():
        message = "The title has characters that cannot be shown."
        found.append(_problem("title", "unprintable", message))
    if not 1 <= terms.days <= DAYS_MAX:
        message = f"{terms.days} days cannot be; a link lasts from 1 to {DAYS_MAX} days."
        found.append(_problem("days", "out_of_range", message, terms.days, DAYS_MAX))
    length = len(terms.password)
    if length and not PASSWORD_MIN <= length <= PASSWORD_MAX:
        message = (
            f"The password has {length} characters; use {PASSWORD_MIN} to {PASSWORD_MAX}, or none."
        )
        found.append(_problem("password", "bad_length", message, length, PASSWORD_MIN))
    return found


def _watermark_problems(text: str, terms: Terms) -> list[FieldProblem]:
    if not terms.has_watermark:
        return []
    given = bool(terms.watermark_text.strip())
    if len(text) > TEXT_MAX:
        whose = "The text" if given else "The organization's name"
        message = (
            f"{whose} has {len(text)} characters; at most {TEXT_MAX} fit. Give a shorter text."
        )
        return [_problem("watermark_text", "too_long", message, len(text), TEXT_MAX)]
    if missing := undrawable(text):
        letters = " ".join(missing[:10])
        message = f"The watermark cannot draw {letters}. Give a text in Latin letters."
        return [_problem("watermark_text", "undrawable", message, letters)]
    return []


def _problem(
    field: str, code: str, message: str, value: object = None, limit: object = None
) -> FieldProblem:
    return FieldProblem(field=field, code=code, message=message, value=value, limit=limit)
