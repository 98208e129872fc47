"""`manage.py index_prompts`: lets the search find jobs that are older than it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from typing_extensions import override

from jobs.services.indexing import index_prompts
from studio.core.scoping import system_scope


class Command(BaseCommand):
    """People go on working meanwhile; broken off, it goes on where it was."""

    help = "Index the prompts of jobs that are not yet indexed."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        with system_scope():
            indexed, unreadable = index_prompts()
        self.stdout.write(f"{indexed} jobs indexed")
        if unreadable:
            self.stderr.write(f"{unreadable} jobs do not open and cannot be found by their words")
