"""New keys in place of old ones, while everybody goes on working.

A workspace's key changes in three steps. The new key seals from now on and the old one still
opens; then every wrapped data key is wrapped anew, some rows at a time (the sealed bytes
themselves stay as they are); then, once nobody can still be writing under the old key, it is
destroyed. Each step can be broken off and done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.utils import timezone

from accounts.models import Organization
from accounts.services.audit import record_system
from gpuagent.protocol.sealing import SealBrokenError
from studio.core.keys import Wrapping, new_wrapped_key, rewrap, rewrap_record, rewrap_with_master
from workspaces.models import Workspace
from workspaces.services.keys import workspace_keys

logger = logging.getLogger(__name__)
BATCH = 500
# Longer than any request or job's step between reading a workspace's key and writing under it.
WRITERS_MAY_LAST = timedelta(hours=1)
Rewrap = Callable[[bytes, list[bytes]], bytes | None]


@dataclass(frozen=True)
class SealedColumn:
    """A column with something under a workspace's key, and how it is wrapped anew."""

    model: type[models.Model]
    column: str
    rewrap: Rewrap


_REWRAP: dict[Wrapping, Rewrap] = {Wrapping.KEY: rewrap, Wrapping.RECORD: rewrap_record}


def sealed_columns() -> list[SealedColumn]:
    """Everything that lies under a workspace's key: what models say in `under_workspace_key`."""
    return [
        SealedColumn(model, column, _REWRAP[wrapping])
        for model in apps.get_models()
        for column, wrapping in getattr(model, "under_workspace_key", {}).items()
    ]


def rotate_workspace_key(workspace_id: str) -> int:
    """Give the workspace a new key and move everything over to it; how many columns moved.

    The old key goes with `retire_keys`, an hour later. If a rotation is under way, it goes on.
    """
    with transaction.atomic():
        workspace = Workspace.objects.select_for_update().get(pk=workspace_id)
        if not workspace.wrapped_key:  # destroyed: a new one would open nothing
            return 0
        if workspace.retiring_key is None:
            workspace.retiring_key, workspace.wrapped_key = workspace.wrapped_key, new_wrapped_key()
            workspace.rotated_at = timezone.now()
            workspace.save(update_fields=["retiring_key", "wrapped_key", "rotated_at"])
            record_system(workspace.organization_id, "workspace.key_rotated", workspace.pk)
    return _move(workspace)


def retire_keys() -> list[str]:
    """Destroy old keys that nothing can be under any more; of which workspaces."""
    due = Workspace.objects.filter(
        retiring_key__isnull=False, rotated_at__lt=timezone.now() - WRITERS_MAY_LAST
    )
    retired = []
    for workspace in due:
        try:
            if _retire(workspace):
                retired.append(workspace.pk)
        except SealBrokenError:
            logger.warning("%s has a key that none of the master keys opens", workspace.pk)
    return retired


def _retire(workspace: Workspace) -> bool:
    # Whoever was still writing while the rotation ran has finished: this catches the last.
    _move(workspace)
    with transaction.atomic():
        # Only of the rotation that was looked at: another may have begun since.
        same = Workspace.objects.filter(pk=workspace.pk, rotated_at=workspace.rotated_at)
        if not same.update(retiring_key=None):
            return False
        record_system(workspace.organization_id, "workspace.key_retired", workspace.pk)
    return True


def rewrap_master() -> int:
    """Wrap with the first master key all that is under another; how many rows that were."""
    return sum(
        _rewrap_row(model, pk, columns)
        for model in apps.get_models()
        if (columns := getattr(model, "under_master_key", ()))
        for pk in model._default_manager.order_by("pk").values_list("pk", flat=True)
    )


def _rewrap_row(model: type[models.Model], pk: str, columns: tuple[str, ...]) -> bool:
    manager: Any = model._default_manager
    with transaction.atomic():
        row = manager.select_for_update().filter(pk=pk).first()
        if row is None:
            return False
        fields = {}
        for name in columns:
            value = getattr(row, name)
            moved = rewrap_with_master(value) if value else None
            if moved is not None:
                fields[name] = moved
        if not fields or not manager.filter(pk=pk).update(**fields):
            return False
        _note_rewrapped(row)
        return True


def _note_rewrapped(row: models.Model) -> None:
    if isinstance(row, Workspace):
        record_system(row.organization_id, "workspace.key_rewrapped", row.pk)
    elif isinstance(row, Organization):
        record_system(row.pk, "organization.key_rewrapped", row.pk)


def _move(workspace: Workspace) -> int:
    workspace.refresh_from_db(fields=["wrapped_key", "retiring_key"])
    keys = workspace_keys(workspace)
    return sum(_move_column(entry, workspace, keys) for entry in sealed_columns())


def _move_column(entry: SealedColumn, workspace: Workspace, keys: list[bytes]) -> int:
    return sum(_move_rows(entry, ids, keys) for ids in _batches(entry, workspace))


@transaction.atomic
def _move_rows(entry: SealedColumn, ids: list[str], keys: list[bytes]) -> int:
    manager: Any = entry.model._default_manager
    # In one order, so that two rotations wait for each other; and what refers to a row, such as
    # a job's next attempt, is written meanwhile.
    rows = manager.select_for_update(of=("self",), no_key=True).filter(pk__in=ids).order_by("pk")
    moved = []
    for row in rows.only("pk", entry.column):
        # What opened under no key before the rotation does not open after it either.
        with suppress(SealBrokenError):
            fresh = entry.rewrap(bytes(getattr(row, entry.column)), keys)
            if fresh is not None:
                setattr(row, entry.column, fresh)
                moved.append(row)
    return int(manager.bulk_update(moved, [entry.column]))


def _batches(entry: SealedColumn, workspace: Workspace) -> Iterator[list[str]]:
    owner, last = _owner_of(entry.model), ""
    manager: Any = entry.model._default_manager
    sealed = manager.filter(**{owner: workspace.pk, f"{entry.column}__isnull": False})
    while ids := list(
        sealed.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ):
        yield ids
        last = ids[-1]


def _owner_of(model: type[models.Model]) -> str:
    """How a row of the model names its workspace."""
    if model is Workspace:
        return "pk"
    names = {field.name for field in model._meta.get_fields()}
    return "workspace" if "workspace" in names else "job__workspace"
