"""Sealing and opening under a workspace's key."""

from __future__ import annotations

from gpuagent.protocol.sealing import Context, new_key, unwrap_key, wrap_key
from studio.core.keys import open_record, seal_record, unwrap_with_master
from workspaces.models import Workspace


def _workspace_key(workspace: Workspace) -> bytes:
    return unwrap_with_master(workspace.wrapped_key)


def seal_in(workspace: Workspace, plaintext: bytes, *, kind: str, object_id: str) -> bytes:
    """Seal a value for a column of `object_id`; it opens only as that kind of that object."""
    context = Context(organization=workspace.organization_id, object_id=object_id, kind=kind)
    return seal_record(plaintext, key=_workspace_key(workspace), context=context)


def open_in(workspace: Workspace, sealed: bytes, *, kind: str, object_id: str) -> bytes:
    """What `seal_in` sealed.

    Raises:
        SealBrokenError: it is not what it should be.
    """
    context = Context(organization=workspace.organization_id, object_id=object_id, kind=kind)
    return open_record(sealed, key=_workspace_key(workspace), context=context)


def new_data_key(workspace: Workspace) -> tuple[bytes, bytes]:
    """A fresh data key: plain, and wrapped for the database."""
    key = new_key()
    return key, wrap_key(key, wrapping_key=_workspace_key(workspace))


def data_key(workspace: Workspace, wrapped: bytes | memoryview) -> bytes:
    """The plain data key of an artifact or an attempt's previews."""
    return unwrap_key(bytes(wrapped), wrapping_key=_workspace_key(workspace))
