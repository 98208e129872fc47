"""Artifacts: expecting, storing, opening, removing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models.deletion import Collector
from django.utils import timezone

from gpuagent.protocol.sealing import Context, SealBrokenError, open_range, plain_size, seal
from studio.core import storage
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Workspace
from workspaces.services.keys import data_key, new_data_key

EXPECTED_FOR = timedelta(days=7)  # longer than any attempt; as long as an upload URL can live
ERASE_AGAIN_AFTER = timedelta(hours=1)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """What a writer says about bytes it has put; sizes in bytes, sides in pixels."""

    sha256: str
    size_bytes: int
    sealed_bytes: int
    media_type: str
    width: int
    height: int


def artifact_context(artifact: Artifact) -> Context:
    """The sealing context of an artifact's envelope."""
    return Context(organization=artifact.organization_id, object_id=artifact.pk, kind=artifact.kind)


def expect_artifact(workspace: Workspace, kind: ArtifactKind) -> tuple[Artifact, bytes]:
    """A row for bytes that an agent will put, and the plain data key to seal them with."""
    plain, wrapped = new_data_key(workspace)
    artifact = Artifact.objects.create(
        organization_id=workspace.organization_id,
        workspace=workspace,
        kind=kind.value,
        wrapped_key=wrapped,
        expires_at=timezone.now() + EXPECTED_FOR,
    )
    return artifact, plain


def mark_stored(artifact: Artifact, facts: StoredFacts) -> bool:
    """Note that the bytes are there; False if that was known already."""
    return (
        Artifact.objects.filter(pk=artifact.pk, status=ArtifactStatus.EXPECTED.value).update(
            status=ArtifactStatus.STORED.value,
            expires_at=None,
            sha256=facts.sha256,
            size_bytes=facts.size_bytes,
            sealed_bytes=facts.sealed_bytes,
            media_type=facts.media_type,
            width=facts.width,
            height=facts.height,
        )
        == 1
    )


def store_bytes(
    workspace: Workspace,
    content: bytes,
    *,
    kind: ArtifactKind,
    media_type: str,
    width: int,
    height: int,
) -> Artifact:
    """Seal bytes and put them to the store.

    Raises:
        StoreFullError: there is no room; nothing is left behind.
    """
    artifact, key = expect_artifact(workspace, kind)
    sealed = seal(content, key=key, context=artifact_context(artifact))
    storage.put(artifact.storage_key, sealed)
    facts = StoredFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        sealed_bytes=len(sealed),
        media_type=media_type,
        width=width,
        height=height,
    )
    mark_stored(artifact, facts)
    artifact.refresh_from_db()
    return artifact


def read_range(artifact: Artifact, start: int, stop: int) -> Iterator[bytes]:
    """Plaintext bytes `start` to `stop` (exclusive), segment by segment.

    Raises:
        FileNotFoundError: the store has lost the object.
        SealBrokenError: the object is not what was stored.
    """
    key = data_key(artifact.workspace, artifact.wrapped_key)
    with storage.open_object(artifact.storage_key) as source:
        yield from open_range(
            source,
            sealed_bytes=artifact.sealed_bytes,
            start=start,
            stop=stop,
            key=key,
            context=artifact_context(artifact),
        )


def read_all(artifact: Artifact) -> bytes:
    """The whole plaintext."""
    return b"".join(read_range(artifact, 0, artifact.size_bytes))


def sealed_size_is_right(artifact: Artifact, facts: StoredFacts) -> bool:
    """Whether the store holds an object of the size the writer says, fit for its plaintext."""
    try:
        if plain_size(facts.sealed_bytes) != facts.size_bytes:
            return False
    except SealBrokenError:
        return False
    return (
        storage.exists(artifact.storage_key)
        and storage.size(artifact.storage_key) == facts.sealed_bytes
    )


def remove_artifacts(artifacts: list[Artifact]) -> int:
    """Give artifacts up: gone for everybody at once, their bytes when that has committed.

    A row goes after its bytes, and stays for `sweep_expected` where the store refuses: without it
    nobody would know what is left to delete.

    Raises:
        ProtectedError: a row still refers to one of them; nothing is done.
    """
    Collector(using=DEFAULT_DB_ALIAS).collect(artifacts)  # asks what deleting them would ask later
    ids = [artifact.pk for artifact in artifacts]
    Artifact.objects.filter(pk__in=ids).update(
        status=ArtifactStatus.EXPECTED.value, expires_at=timezone.now()
    )
    transaction.on_commit(partial(_erase_all, artifacts))
    return len(ids)


def _erase_all(artifacts: list[Artifact]) -> None:
    for artifact in artifacts:
        try:
            storage.delete(artifact.storage_key)
        except Exception as error:  # every store has its own; the others are still to be erased
            logger.error("cannot erase artifact=%s (%s)", artifact.pk, type(error).__name__)
            later = timezone.now() + ERASE_AGAIN_AFTER  # not before others that wait
            Artifact.objects.filter(pk=artifact.pk).update(expires_at=later)
        else:
            Artifact.objects.filter(pk=artifact.pk).delete()


def sweep_expected(*, limit: int = 500) -> int:
    """Remove what agents were to write but never did, and what could not be erased; how many."""
    late = Artifact.objects.filter(
        status=ArtifactStatus.EXPECTED.value, expires_at__lt=timezone.now()
    )
    with transaction.atomic():
        return remove_artifacts(list(late.order_by("expires_at")[:limit]))
