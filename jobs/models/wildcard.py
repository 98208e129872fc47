"""Wildcard: a list of words that prompts draw from. What is in it is part of prompts."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models

from accounts.models import Organization
from studio.core.ids import IdField
from studio.core.keys import Wrapping
from studio.core.scoping import ScopedManager
from workspaces.models import Workspace


class Wildcard(models.Model):
    """Name and entries, sealed together as JSON under the workspace key."""

    id = IdField(prefix="wld")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="wildcards")
    sealed_list = models.BinaryField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"sealed_list": Wrapping.RECORD}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()
