"""The outbox: messages written in the transaction that causes them, sent after it."""

from __future__ import annotations

from django.db import models

from studio.core.ids import IdField


class OutboxMessage(models.Model):
    """A message for a Dramatiq actor; ids only. Deleted once the broker has it."""

    id = IdField(prefix="msg")
    namespace = models.CharField(max_length=64)
    queue_name = models.CharField(max_length=64)
    actor_name = models.CharField(max_length=64)
    args = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["created_at"])]
