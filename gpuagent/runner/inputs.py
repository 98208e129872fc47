"""The starting pictures of an attempt: fetched, opened, and checked to be what the recipe names."""

from __future__ import annotations

import hashlib
from base64 import b64decode

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.cache.places import PlaceRefusedError
from gpuagent.cache.sources import SourceError, Sources
from gpuagent.protocol import sealing
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.messages import Assignment


def read_input(sources: Sources, assignment: Assignment, sha256: str) -> bytes:
    """The bytes of a starting picture.

    Raises:
        AttemptFailedError: it cannot be read, or is another picture.
    """
    reference = next((i for i in assignment.inputs if i.sha256 == sha256), None)
    if reference is None:
        raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="not in the assignment")
    context = sealing.Context(
        organization=assignment.organization, object_id=reference.artifact_id, kind="input"
    )
    try:
        with sources.open(reference.url) as chunks:
            sealed = b"".join(chunks)
        data = sealing.open_sealed(sealed, key=b64decode(reference.data_key), context=context)
    except SourceError as error:
        raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason=str(error)) from error
    except (PlaceRefusedError, sealing.SealBrokenError) as error:
        raise AttemptFailedError(
            FailureCode.INPUT_UNREADABLE, reason=type(error).__name__
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AttemptFailedError(FailureCode.INPUT_UNREADABLE, reason="another picture")
    return data
