"""Mail on its way: sealed in the row, an id in the queue, tried again, never lost silently."""

from __future__ import annotations

import base64
import logging
import smtplib
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core import mail as outbox
from django.core.management import call_command
from dramatiq import Worker
from pytest_django.fixtures import Settings
from redis import Redis
from typing_extensions import override

from gpuagent.protocol.sealing import new_key
from jobs.actors import send_mail
from studio import env
from studio.core import mail
from studio.core.models import OutboxMessage, OutgoingMail
from studio.core.queue import WEB_NAMESPACE, broker
from tests.looking import all_columns, all_of_redis

pytestmark = pytest.mark.django_db(transaction=True)
TO = "canary7q@alpha.example"
URL = "https://studio.example/CANARYTOKEN7Q"


def send() -> str:
    return mail.send_on_commit("password_reset", TO, {"url": URL})


def refuse(settings: Settings, port: int = 1) -> None:
    """A mail server that is not there."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port


def test_a_mail_is_sent_once_with_its_first_line_as_subject() -> None:
    mail_id = send()
    assert mail.deliver(mail_id) is None
    assert mail.deliver(mail_id) is None
    (sent,) = outbox.outbox
    assert sent.to == [TO]
    assert sent.subject == "Set a new password for Studio"
    assert URL in sent.body
    assert "Set a new password for Studio" not in sent.body
    assert sent.extra_headers["Message-ID"].startswith(f"<{mail_id}@")
    assert not OutgoingMail.objects.exists()


def test_neither_the_database_nor_the_queue_can_be_read(
    redis: Redis, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    refuse(settings)
    with caplog.at_level(logging.DEBUG):
        mail_id = send()
        assert mail.deliver(mail_id) == mail.WAITS[0]
    everything = all_columns() + all_of_redis(redis) + caplog.text
    assert mail_id in everything
    for canary in (TO, "canary7q", "CANARYTOKEN7Q"):
        assert canary not in everything


def test_the_worker_sends_what_the_queue_names(redis: Redis) -> None:
    send()
    assert not OutboxMessage.objects.exists()
    own = broker(WEB_NAMESPACE)
    own.declare_actor(send_mail)
    worker = Worker(own, worker_timeout=50, worker_threads=1)
    worker.start()
    try:
        own.join("default", timeout=10_000)
        worker.join()
    finally:
        worker.stop()
    assert [sent.to for sent in outbox.outbox] == [[TO]]


def test_a_server_that_is_away_is_asked_again_and_the_person_told(settings: Settings) -> None:
    backend = settings.EMAIL_BACKEND
    refuse(settings)
    mail_id = send()
    assert mail.trouble_of(mail_id) == ""
    assert mail.deliver(mail_id) == mail.WAITS[0]
    assert mail.trouble_of(mail_id).endswith("It is tried again.")

    settings.EMAIL_BACKEND = backend
    assert mail.deliver(mail_id) is None
    assert len(outbox.outbox) == 1
    assert mail.trouble_of(mail_id) == ""


def test_after_the_last_try_its_text_goes_and_the_trouble_stays(settings: Settings) -> None:
    refuse(settings)
    mail_id = send()
    waits = [mail.deliver(mail_id) for _ in range(len(mail.WAITS) + 1)]
    assert waits == [*mail.WAITS, None]
    assert mail.trouble_of(mail_id).endswith("It was given up.")
    assert bytes(OutgoingMail.objects.get().sealed) == b""
    assert mail.deliver(mail_id) is None


class RefusingServer(threading.Thread):
    """Speaks enough SMTP to refuse every recipient."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    @override
    def run(self) -> None:
        line, _ = self.socket.accept()
        with line, line.makefile("rwb") as file:

            def say(text: bytes) -> None:
                file.write(text + b"\r\n")
                file.flush()

            say(b"220 here")
            for said in file:
                word = said[:4].upper()
                if word == b"RCPT":
                    say(b"550 no such person")
                elif word == b"QUIT":
                    say(b"221 bye")
                    return
                else:
                    say(b"250 ok")


@pytest.fixture
def refusing() -> Iterator[RefusingServer]:
    server = RefusingServer()
    server.start()
    yield server
    server.socket.close()


def test_a_refused_address_is_not_asked_again(
    settings: Settings, refusing: RefusingServer, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(settings, refusing.port)
    mail_id = send()
    assert mail.deliver(mail_id) is None
    assert "refused this address" in mail.trouble_of(mail_id)
    assert TO not in caplog.text


def test_a_mail_to_nobody_meets_the_same_trouble_and_is_never_sent(settings: Settings) -> None:
    backend = settings.EMAIL_BACKEND
    refuse(settings)
    real, nobody = send(), mail.pretend_on_commit("password_reset", {"url": URL})
    assert mail.deliver(real) == mail.deliver(nobody)
    assert mail.trouble_of(real) == mail.trouble_of(nobody) != ""
    sizes = [len(row.sealed) for row in OutgoingMail.objects.all()]
    assert abs(sizes[0] - sizes[1]) <= len(TO)

    settings.EMAIL_BACKEND = backend
    assert mail.deliver(nobody) is None
    assert outbox.outbox == []


def test_what_a_person_wrote_stays_on_its_line_and_is_not_escaped() -> None:
    values = {"what": "Ann & Bob's\n\nClick: https://evil.example", "url": URL}
    mail.deliver(mail.send_on_commit("account_changed", TO, values))
    sent = outbox.outbox[0]
    assert sent.subject == "Ann & Bob's Click: https://evil.example"
    assert "\nClick" not in sent.body


def test_a_lost_message_is_queued_again(redis: Redis) -> None:
    mail_id = send()
    redis.flushdb()
    assert mail.resend_waiting() == 0, "it may still be on its way"
    _ages()
    assert mail.resend_waiting() == 1
    assert mail_id in all_of_redis(redis)


def _ages() -> None:
    for row in OutgoingMail.objects.all():
        OutgoingMail.objects.filter(pk=row.pk).update(
            created_at=row.created_at.replace(year=row.created_at.year - 1)
        )


def test_old_troubles_are_forgotten(settings: Settings) -> None:
    refuse(settings)
    mail_id = send()
    while mail.deliver(mail_id) is not None:
        pass
    mail.resend_waiting()
    assert OutgoingMail.objects.exists()
    _ages()
    mail.resend_waiting()
    assert not OutgoingMail.objects.exists()


def test_a_waiting_mail_moves_to_a_new_master_key(settings: Settings) -> None:
    old, new = settings.STUDIO_MASTER_KEY.split()[0], base64.b64encode(new_key()).decode()
    mail_id = send()
    settings.STUDIO_MASTER_KEY = f"{new}\n{old}"
    call_command("rotate_master_key")
    settings.STUDIO_MASTER_KEY = new
    assert mail.deliver(mail_id) is None
    assert len(outbox.outbox) == 1


def test_without_a_master_key_it_waits_for_it(settings: Settings) -> None:
    mail_id, key = send(), settings.STUDIO_MASTER_KEY
    settings.STUDIO_MASTER_KEY = base64.b64encode(new_key()).decode()
    assert mail.deliver(mail_id) == mail.WAITS[0]
    settings.STUDIO_MASTER_KEY = key
    assert mail.deliver(mail_id) is None


def test_without_a_server_mail_lies_in_a_folder_of_its_owner(
    settings: Settings, tmp_path: Path
) -> None:
    settings.EMAIL_BACKEND = "studio.core.mail_folder.FolderBackend"
    settings.MAIL_FOLDER = tmp_path / "state" / "mail"
    mail.deliver(send())
    (file,) = settings.MAIL_FOLDER.iterdir()
    assert file.suffix == ".eml"
    assert URL in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.MAIL_FOLDER.stat().st_mode) == 0o700


def test_a_full_disk_is_a_trouble_like_any_other(settings: Settings, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "studio.core.mail_folder.FolderBackend"
    settings.MAIL_FOLDER = tmp_path / "mail"
    settings.MAIL_FOLDER.write_text("a file where the folder should be")
    assert mail.deliver(send()) == mail.WAITS[0]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("smtp://me:p%40ss@mail.example:2525?tls=1", (2525, "me", "p@ss", True, False)),
        ("smtp://mail.example?tls=1", (587, "", "", True, False)),
        ("smtp://mail.example", (25, "", "", False, False)),
        ("smtps://mail.example", (465, "", "", False, True)),
    ],
)
def test_the_mail_servers_address(
    address: str, found: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_URL", address)
    read = env.mail("EMAIL_URL")
    names = ("PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(read[f"EMAIL_{name}"] for name in names) == found
    assert read["EMAIL_HOST"] == "mail.example"


@pytest.mark.parametrize("address", ["mail.example", "http://mail.example", "smtp://"])
def test_a_wrong_address_of_the_mail_server_stops_the_start(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_URL", address)
    with pytest.raises(Exception, match="EMAIL_URL must look like"):
        env.mail("EMAIL_URL")


def test_smtplibs_errors_are_errors_of_the_system() -> None:
    """`deliver` catches OSError alone for all that a mail server can do."""
    assert issubclass(smtplib.SMTPException, OSError)
