"""Grid: one recipe made again and again with other values, laid out as a table of pictures."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models

from accounts.models import Organization
from jobs.models.job import Job
from studio.core.ids import IdField
from studio.core.keys import Wrapping
from studio.core.scoping import ScopedManager
from workspaces.models import Workspace


class Grid(models.Model):
    """What varies lies sealed: values can be words of prompts. The jobs are its cells."""

    id = IdField(prefix="grd")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="grids")
    sealed_axes = models.BinaryField()
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001  # null: no key, and several such rows
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    under_workspace_key: ClassVar[dict[str, Wrapping]] = {"sealed_axes": Wrapping.RECORD}
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "created_by", "idempotency_key"], name="grid_idempotency_once"
            )
        ]


class GridCell(models.Model):
    """A job in its place: counted along x, then y, then z."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    grid = models.ForeignKey(Grid, on_delete=models.CASCADE, related_name="cells")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="cells")
    place = models.PositiveIntegerField()

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["grid", "place"], name="grid_cell_once"),
        ]
