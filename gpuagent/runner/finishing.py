"""From pixels to a committed output: encode, seal, store, tell."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import EncodedFile, Pixels, encode_png, encode_thumbnail
from gpuagent.protocol import sealing
from gpuagent.protocol.editions import edition_of
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.families import dtype_said
from gpuagent.protocol.manifest import build_manifest, canonical, infotext
from gpuagent.protocol.messages import Assignment, OutputCommit, StoredFile, UploadTarget
from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.taxonomy import FileKind
from gpuagent.runner.client import WHILE_LEASED, StaleError, StudioClient, persist
from gpuagent.runner.held import Held, Stop
from gpuagent.runner.patience import patiently
from gpuagent.runner.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBy:
    """How a picture was made, as far as that changes its pixels.

    `memory` names measures that saved memory; `batch` is how many pictures were made at once.
    """

    memory: str = ""
    batch: int = 1


class Finisher:
    """Finishes pictures beside the denoising of the next ones."""

    def __init__(
        self, client: StudioClient, store: Store, *, fingerprint: Mapping[str, object]
    ) -> None:
        self._client = client
        self._store = store
        self._fingerprint = fingerprint

    def finish(
        self,
        held: Held,
        assignment: Assignment,
        recipe: Recipe,
        index: int,
        pixels: Pixels,
        made_by: MadeBy,
    ) -> None:
        """Store picture `index` and commit it.

        Raises:
            AttemptStoppedError: the attempt is lost; nothing more was written after that was known.
            AttemptFailedError: the store did not take a file.
        """
        manifest = self._manifest(assignment, recipe, index, made_by)
        files = _encode(assignment, recipe, index, pixels, manifest)
        stored = []
        for kind, file in files.items():
            target = _target(assignment, index, kind)
            sealed = _seal(file.data, target, assignment.organization)
            _check_lost(held)
            self._put(held, target.url, sealed)
            stored.append(_stored(file, target, len(sealed)))
        self._commit(held, index, manifest, tuple(stored))

    def _put(self, held: Held, url: str, sealed: bytes) -> None:
        patiently(lambda: self._store.put(url, sealed), check=lambda: _check_lost(held))

    def _commit(
        self, held: Held, index: int, manifest: dict[str, object], files: tuple[StoredFile, ...]
    ) -> None:
        message = OutputCommit(fence=held.fence, index=index, manifest=manifest, files=files)
        try:
            persist(
                lambda: self._client.commit(held.attempt_id, message),
                check=lambda: _check_lost(held),
                tries=WHILE_LEASED,
            )
        except StaleError:
            held.stop(Stop.LOST)
            held.check()

    def _manifest(
        self, assignment: Assignment, recipe: Recipe, index: int, made_by: MadeBy
    ) -> dict[str, object]:
        dtype = dtype_said(str(self._fingerprint.get("dtype", "")), assignment.model.architecture)
        engine = {**self._fingerprint, "dtype": dtype, "batch": made_by.batch}
        if made_by.memory:
            engine["memory"] = made_by.memory
        if (edition := edition_of(recipe)) > 1:
            engine["edition"] = edition
        return build_manifest(
            recipe,
            index=index,
            model_name=assignment.model.name,
            model_digest=assignment.model.digest,
            architecture=assignment.model.architecture,
            engine=engine,
            adapters=assignment.adapters,
        )


def _check_lost(held: Held) -> None:
    """A canceled or drained attempt may still store pictures that are ready; a lost one may not."""
    if held.reason() is Stop.LOST:
        held.check()


def _encode(
    assignment: Assignment,
    recipe: Recipe,
    index: int,
    pixels: Pixels,
    manifest: dict[str, object],
) -> dict[FileKind, EncodedFile]:
    text = infotext(
        recipe,
        index=index,
        model_name=assignment.model.name,
        model_digest=assignment.model.digest,
        adapters=assignment.adapters,
    )
    return {
        FileKind.PICTURE: encode_png(pixels, manifest=canonical(manifest), infotext=text),
        FileKind.THUMBNAIL: encode_thumbnail(pixels),
    }


def _target(assignment: Assignment, index: int, kind: FileKind) -> UploadTarget:
    for target in assignment.targets:
        if (target.index, target.kind) == (index, kind):
            return target
    raise AttemptFailedError(FailureCode.STORE_FAILED, reason="no upload target", index=index)


def _seal(data: bytes, target: UploadTarget, organization: str) -> bytes:
    context = sealing.Context(
        organization=organization, object_id=target.artifact_id, kind=target.kind
    )
    return sealing.seal(data, key=b64decode(target.data_key), context=context)


def _stored(file: EncodedFile, target: UploadTarget, sealed_bytes: int) -> StoredFile:
    return StoredFile(
        artifact_id=target.artifact_id,
        kind=target.kind,
        sha256=hashlib.sha256(file.data).hexdigest(),
        size_bytes=len(file.data),
        sealed_bytes=sealed_bytes,
        media_type=file.media_type,
        width=file.width,
        height=file.height,
    )
