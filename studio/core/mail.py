"""Mail: written and sealed with the change that causes it, sent by the worker after the commit.

Neither the queue nor a log ever holds an address or a word of it: they know the row's id. What
could not be sent is tried again for about an hour, and `trouble_of` says so to whoever asked.
"""

from __future__ import annotations

import json
import logging
import smtplib
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import F, Q
from django.template import Context as TemplateContext
from django.template import loader
from django.utils import timezone

from gpuagent.protocol.sealing import Context, SealBrokenError
from studio.core import queue
from studio.core.ids import new_id
from studio.core.keys import open_with_master, rewrap_sealed_with_master, seal_with_master
from studio.core.models import OutgoingMail

ACTOR = "send_mail"
# Seconds until the next try, after each that failed; after the last nothing more is tried.
WAITS = (10, 60, 300, 900, 1_800)
TROUBLE_KEPT = timedelta(days=7)
logger = logging.getLogger(__name__)


class Trouble(StrEnum):
    """Why a mail has not been sent; for people, see `sentence_of`."""

    SERVER = "server"
    REFUSED = "refused"
    SEALED = "sealed"


_SENTENCES: Mapping[str, str] = {
    Trouble.SERVER: "The mail server does not take mail right now.",
    Trouble.REFUSED: "The mail server refused this address.",
    Trouble.SEALED: "The mail could not be opened: its key is missing.",
}


def send_on_commit(template: str, to: str, context: Mapping[str, object]) -> str:
    """Send `templates/mail/<template>.txt` once the running transaction has committed; its id.

    The first line of the template is the subject. Values of `context` become one line each, so
    that what a person wrote cannot pass for text of ours.
    """
    subject, body = _render(template, context)
    return _put(to, subject, body)


def pretend_on_commit(template: str, context: Mapping[str, object]) -> str:
    """All the work of `send_on_commit`, and the worker speaks to the mail server; nothing is sent.

    So that who asks cannot tell by time or trouble whether there is anybody to write to.
    """
    subject, body = _render(template, context)
    return _put("", subject, body)


def trouble_of(mail_id: str) -> str:
    """Why the mail has not been sent, as a sentence; empty if it was sent or not yet tried."""
    row = OutgoingMail.objects.filter(pk=mail_id).only("trouble", "is_given_up").first()
    if row is None or not row.trouble:
        return ""
    what_next = "It was given up." if row.is_given_up else "It is tried again."
    return f"{_SENTENCES[row.trouble]} {what_next}"


def deliver(mail_id: str) -> int | None:
    """Send a mail; None when there is nothing more to do, else seconds until the next try.

    Running twice is safe: the row is locked meanwhile, and gone afterwards.
    """
    with transaction.atomic():
        waiting = OutgoingMail.objects.filter(pk=mail_id, is_given_up=False)
        row = waiting.select_for_update(skip_locked=True).first()
        if row is None:
            return None
        trouble = _send(row)
        if trouble is None:
            row.delete()
            return None
        return _note(row, trouble)


def resend_waiting() -> int:
    """Queue what a lost message left behind, and forget old troubles; how many were queued."""
    now = timezone.now()
    OutgoingMail.objects.filter(is_given_up=True, created_at__lt=now - TROUBLE_KEPT).delete()
    before = now - timedelta(seconds=2 * WAITS[-1])
    stuck = OutgoingMail.objects.filter(
        Q(tried_at=None) | Q(tried_at__lt=before), is_given_up=False, created_at__lt=before
    )
    ids = list(stuck.values_list("pk", flat=True)[:500])
    with transaction.atomic():
        for pk in ids:
            queue.send_on_commit(ACTOR, pk)
    return len(ids)


def rewrap_mails() -> int:
    """Put waiting mails under the first master key; how many were under another."""
    changed = 0
    for pk, sealed in OutgoingMail.objects.filter(is_given_up=False).values_list("pk", "sealed"):
        with suppress(SealBrokenError):
            fresh = rewrap_sealed_with_master(sealed)
            if fresh is not None:
                changed += OutgoingMail.objects.filter(pk=pk, is_given_up=False).update(
                    sealed=fresh
                )
    return changed


def _render(template: str, context: Mapping[str, object]) -> tuple[str, str]:
    values = {
        name: " ".join(value.split()) if isinstance(value, str) else value
        for name, value in context.items()
    }
    plain: Any = loader.get_template(f"mail/{template}.txt")
    text = plain.template.render(TemplateContext(values, autoescape=False))
    subject, _, body = text.strip().partition("\n")
    return subject.strip(), body.strip() + "\n"


def _put(to: str, subject: str, body: str) -> str:
    pk = new_id("mai")
    content = json.dumps({"to": to, "subject": subject, "body": body}).encode()
    with transaction.atomic():
        sealed = seal_with_master(content, context=_context(pk))
        OutgoingMail.objects.create(pk=pk, sealed=sealed)
        queue.send_on_commit(ACTOR, pk)
    return pk


def _context(pk: str) -> Context:
    return Context(organization="", object_id=pk, kind="mail")


def _send(row: OutgoingMail) -> Trouble | None:
    # Only classes leave this function: the server's own words may repeat address and text.
    try:
        content = json.loads(open_with_master(row.sealed, context=_context(row.pk)))
        with get_connection() as connection:
            if content["to"]:
                _message(row.pk, content, connection).send()
    except SealBrokenError:
        return Trouble.SEALED
    except (smtplib.SMTPRecipientsRefused, ValueError):  # ValueError: a header with a line break
        return Trouble.REFUSED
    except OSError:  # smtplib's own errors are such, too
        return Trouble.SERVER
    return None


def _message(pk: str, content: Mapping[str, str], connection: Any) -> EmailMessage:  # noqa: ANN401  # a backend of Django
    host = urlsplit(settings.STUDIO_URL).hostname or "localhost"
    return EmailMessage(
        content["subject"],
        content["body"],
        settings.DEFAULT_FROM_EMAIL,
        [content["to"]],
        # The same id when it is sent a second time, so that mail programs show it once.
        headers={"Message-ID": f"<{pk}@{host}>", "Auto-Submitted": "auto-generated"},
        connection=connection,
    )


def _note(row: OutgoingMail, trouble: Trouble) -> int | None:
    is_last = row.tries >= len(WAITS) or trouble == Trouble.REFUSED
    logger.warning("%s was not sent (%s)%s", row.pk, trouble, ", given up" if is_last else "")
    OutgoingMail.objects.filter(pk=row.pk).update(
        tries=F("tries") + 1,
        tried_at=timezone.now(),
        trouble=trouble.value,
        is_given_up=is_last,
        sealed=b"" if is_last else row.sealed,
    )
    return None if is_last else WAITS[row.tries]
