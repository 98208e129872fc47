"""The outboxes: messages and mails, written in the transaction that causes them, sent after it."""

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


class OutgoingMail(models.Model):
    """A mail on its way: to whom and what it says lie sealed under the master key.

    The row goes when the mail has been sent. Of one that could not be sent, the trouble stays for
    some days, for whoever asked; its text goes.
    """

    id = IdField(prefix="mai")
    sealed = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)
    tries = models.PositiveSmallIntegerField(default=0)
    tried_at = models.DateTimeField(null=True)
    trouble = models.CharField(max_length=16, blank=True)
    is_given_up = models.BooleanField(default=False)

    class Meta:
        indexes = [models.Index(fields=["created_at"])]
