"""Mail as files, for an installation without a mail server: one `.eml` each, for the owner only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone
from typing_extensions import override

from studio.core.ids import new_id


class FolderBackend(BaseEmailBackend):
    """Writes each mail into `MAIL_FOLDER`. They hold links that open accounts: 0600 in 0700."""

    @override
    def open(self) -> bool:
        """Make the folder, or say that there can be none.

        Raises:
            OSError: there can be none.
        """
        folder = Path(settings.MAIL_FOLDER)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        return True

    @override
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Write them; a half-written one never has the name of a whole one."""
        self.open()
        for message in email_messages:
            name = f"{timezone.now():%Y%m%d-%H%M%S}-{new_id('eml')}"
            part = Path(settings.MAIL_FOLDER) / f"{name}.part"
            part.touch(mode=0o600, exist_ok=False)
            part.write_bytes(message.message().as_bytes())
            part.rename(part.with_suffix(".eml"))
        return len(email_messages)
