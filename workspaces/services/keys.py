"""Sealing and opening under a workspace's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gpuagent.protocol.sealing import Context, SealBrokenError, new_key, wrap_key
from studio.core.keys import open_record, seal_record, unwrap_with_any, unwrap_with_master
from workspaces.models import Workspace

T = TypeVar("T")


def workspace_keys(workspace: Workspace) -> list[bytes]:
    """The workspace's keys: the one that seals, and during a rotation the one before.

    Raises:
        SealBrokenError: the master key is another one, or the workspace's was destroyed.
    """
    if not workspace.wrapped_key:
        raise SealBrokenError("the key of this workspace was destroyed")
    wrapped = [workspace.wrapped_key, workspace.retiring_key]
    return [unwrap_with_master(key) for key in wrapped if key]


def seal_in(workspace: Workspace, plaintext: bytes, *, kind: str, object_id: str) -> bytes:
    """Seal a value for a column of `object_id`; it opens only as that kind of that object."""
    context = Context(organization=workspace.organization_id, object_id=object_id, kind=kind)
    return seal_record(plaintext, key=workspace_keys(workspace)[0], context=context)


def open_in(workspace: Workspace, sealed: bytes, *, kind: str, object_id: str) -> bytes:
    """What `seal_in` sealed.

    Raises:
        SealBrokenError: it is not what it should be.
    """
    context = Context(organization=workspace.organization_id, object_id=object_id, kind=kind)
    return _with_keys(workspace, lambda keys: open_record(sealed, keys=keys, context=context))


def new_data_key(workspace: Workspace) -> tuple[bytes, bytes]:
    """A fresh data key: plain, and wrapped for the database."""
    key = new_key()
    return key, wrap_key(key, wrapping_key=workspace_keys(workspace)[0])


def data_key(workspace: Workspace, wrapped: bytes | memoryview) -> bytes:
    """The plain data key of an artifact or an attempt's previews."""
    return _with_keys(workspace, lambda keys: unwrap_with_any(wrapped, keys))


def search_key(workspace: Workspace) -> bytes:
    """The key that makes words into what can be searched for; made when first needed, once."""
    if not workspace.wrapped_search_key:
        _plain, wrapped = new_data_key(workspace)
        unset = Workspace.objects.filter(pk=workspace.pk, wrapped_search_key=None)
        unset.update(wrapped_search_key=wrapped)  # losing this race is fine: the row is read again
        workspace.refresh_from_db(fields=["wrapped_search_key"])
    return data_key(workspace, workspace.wrapped_search_key or b"")


def _with_keys(workspace: Workspace, attempt: Callable[[list[bytes]], T]) -> T:
    """Try with the keys at hand, then with those of the row: a rotation may have begun since."""
    try:
        return attempt(workspace_keys(workspace))
    except SealBrokenError:
        if not _has_changed(workspace):
            raise
    return attempt(workspace_keys(workspace))


def _has_changed(workspace: Workspace) -> bool:
    """Read the row's keys again; whether they are others than those at hand."""
    known = (bytes(workspace.wrapped_key), bytes(workspace.retiring_key or b""))
    try:
        workspace.refresh_from_db(fields=["wrapped_key", "retiring_key"])
    except Workspace.DoesNotExist:
        return False
    return known != (bytes(workspace.wrapped_key), bytes(workspace.retiring_key or b""))
