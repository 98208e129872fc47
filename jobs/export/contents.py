"""The files of an export, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from django.utils import timezone

from accounts.models import Organization
from gpuagent.protocol.sealing import SealBrokenError
from jobs.export import records
from jobs.export.archive import Archive, safe_name
from workspaces.models import Artifact, Workspace
from workspaces.services.artifacts import read_range

# A picture up to this size is kept from checking to writing; a larger one is read twice.
HELD_BYTES = 8 << 20
ENDINGS = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpg", "image/avif": "avif"}
README = """\
Export of {name} ({id}), begun {now:%Y-%m-%d %H:%M} UTC

organization.json          name and rules for signing in
members.json, teams.json   who belongs to the organization and to its teams
models.json                models that can be used: descriptions, versions, hashes; no weights
audit-log.ndjson           who did what, oldest first, up to the beginning of this export or later
workspaces/NAME-ID/
  workspace.json           name, color, whether it is restricted, who was let in
  projects.ndjson          projects
  share-links.ndjson       links to pictures; not the addresses themselves, which are kept nowhere
  wildcards.ndjson         lists of words that prompts draw from
  jobs.ndjson              what was asked for: recipes with prompts
  pictures/OUT.png         each picture as it was made, byte for byte, also those in the trash
  pictures/OUT.json        what it is, and its manifest: all that is needed to make it again
  starting-pictures/       pictures that people brought
errors.txt                 what is missing or damaged; look here first
SHA256SUMS                 of every file above: sha256sum -c SHA256SUMS

Nothing in here is encrypted any more. Not in here: passwords, keys and tokens; thumbnails, which
can be made again; deleted workspaces. People went on working meanwhile: what was made or deleted
after the export began may be in it or not.

.ndjson is one JSON value a line. Times are in UTC.
"""
Guard = Callable[[], None]


def write_export(archive: Archive, organization: Organization, guard: Guard) -> Iterator[bytes]:
    """The bytes of the ZIP. `guard` is called all along and raises when it must not go on."""
    yield from archive.add("README.txt", [_readme(organization)])
    yield from archive.add_json("organization.json", records.organization_record(organization))
    yield from archive.add_json("members.json", records.member_records(organization))
    yield from archive.add_json("teams.json", records.team_records(organization))
    yield from archive.add_json("models.json", records.model_records())
    for workspace in _workspaces(organization):
        yield from _write_workspace(archive, workspace, guard)
    yield from archive.add_lines("audit-log.ndjson", records.audit_records(organization))
    yield from archive.add_errors("errors.txt")
    yield from archive.finish("SHA256SUMS")


def _readme(organization: Organization) -> bytes:
    name = " ".join(organization.name.split())
    return README.format(name=name, id=organization.pk, now=timezone.now()).encode()


def _workspaces(organization: Organization) -> list[Workspace]:
    open_ones = Workspace.objects.filter(organization=organization, deleted_at=None)
    return list(open_ones.order_by("pk"))


def _write_workspace(archive: Archive, workspace: Workspace, guard: Guard) -> Iterator[bytes]:
    folder = f"workspaces/{safe_name(workspace.name, workspace.pk)}"

    def note(problem: str) -> None:
        archive.errors.append(f"{folder}: {problem}")

    yield from archive.add_json(f"{folder}/workspace.json", records.workspace_record(workspace))
    projects = records.project_records(workspace, note)
    yield from archive.add_lines(f"{folder}/projects.ndjson", projects)
    links = records.link_records(workspace, note)
    yield from archive.add_lines(f"{folder}/share-links.ndjson", links)
    lists = records.wildcard_records(workspace, note)
    yield from archive.add_lines(f"{folder}/wildcards.ndjson", lists)
    yield from archive.add_lines(f"{folder}/jobs.ndjson", records.job_records(workspace, note))
    for output in records.outputs_in(workspace):
        guard()
        record = records.output_record(output, note)
        path = f"{folder}/pictures/{output.pk}"
        yield from archive.add_json(f"{path}.json", record)
        yield from _write_picture(archive, path, output.picture)
    for artifact in records.inputs_in(workspace):
        guard()
        yield from _write_picture(archive, f"{folder}/starting-pictures/{artifact.pk}", artifact)


def _write_picture(archive: Archive, path: str, artifact: Artifact) -> Iterator[bytes]:
    """The bytes as they were made. What cannot be had whole is left out and named."""
    path = f"{path}.{ENDINGS.get(artifact.media_type, 'bin')}"
    try:
        content = _checked(artifact)
    except FileNotFoundError:
        archive.errors.append(f"{path}: the store has lost it")
    except (SealBrokenError, OSError, ValueError) as error:
        archive.errors.append(f"{path}: damaged, it cannot be opened ({type(error).__name__})")
    else:
        yield from archive.add(path, content, is_text=False)


def _checked(artifact: Artifact) -> Iterator[bytes]:
    """The plaintext, after all of it was opened once and is what was stored."""
    is_held = artifact.size_bytes <= HELD_BYTES
    held: list[bytes] = []
    digest = hashlib.sha256()
    for piece in read_range(artifact, 0, artifact.size_bytes):
        digest.update(piece)
        if is_held:
            held.append(piece)
    if digest.hexdigest() != artifact.sha256:
        raise SealBrokenError("the bytes are not those that were recorded")
    return iter(held) if is_held else read_range(artifact, 0, artifact.size_bytes)
