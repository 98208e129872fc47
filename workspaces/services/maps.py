"""Maps for ControlNets, shown before they are used: drawn from a picture of the workspace.

An agent draws the same map when it makes the picture; the arithmetic is `gpuagent.maps`, which runs
as a program of its own here, like the decoding of uploads.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from django.db import transaction

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.controls import MapRequest
from studio.core.errors import invalid
from workspaces.access import find_input, require_in
from workspaces.models import Artifact, Workspace
from workspaces.services.artifacts import read_all
from workspaces.services.uploads import keep_pictures, run_confined

# Each thread would reserve memory of its own.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


def add_map(*, actor: Actor, workspace: Workspace, asked: MapRequest) -> Artifact:
    """Store the map of a picture as a picture that jobs can use; the same again is the same.

    Raises:
        InvalidInputError: the picture is not in the workspace, or cannot be read.
        BusyError: too many are being drawn.
        StoreFullError: there is no room.
    """
    require_in(actor, workspace, Permission.UPLOAD_CREATE)
    source = find_input(workspace, asked.image)
    if source is None:
        message = "That picture is not in this workspace; add it again."
        raise invalid("image", "unknown_image", message)
    drawn = run_confined(_program(), asked.arguments, read_all(source), environment=_ONE_THREAD)
    with transaction.atomic():
        (kept,) = keep_pictures(workspace, [drawn], (asked.width, asked.height))
        record_event(actor, "upload.mapped", kept.pk, {"workspace": workspace.pk})
    return kept


def _program() -> Path:
    """Found, not imported: what it needs belongs to its own process."""
    found = find_spec("gpuagent.maps")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("gpuagent.maps")
    return Path(found.origin)
