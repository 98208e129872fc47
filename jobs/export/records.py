"""What an export says of each row, and where it finds the rows: some hundreds at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from django.db import models

from accounts.models import AuditEvent, Membership, Organization, Team
from gpuagent.protocol.sealing import SealBrokenError
from jobs.models import InputRole, Job, Output
from jobs.recipes import open_manifest, open_recipe
from jobs.services.sharing import ShareText, text_of
from jobs.services.wildcards import lists_of
from library.models import ModelAsset
from workspaces.models import Artifact, ArtifactKind, ArtifactStatus, Project, ShareLink, Workspace
from workspaces.services.keys import open_in
from workspaces.services.projects import NAME_KIND

PAGE = 200
Row = TypeVar("Row", bound=models.Model)
Note = Callable[[str], None]


def pages(rows: models.QuerySet[Row]) -> Iterator[Row]:
    """All rows by their ids, each page a query of its own: the next may run in another thread."""
    last: object = None
    while True:
        page = rows if last is None else rows.filter(pk__gt=last)
        found = list(page.order_by("pk")[:PAGE])
        yield from found
        if len(found) < PAGE:
            return
        last = found[-1].pk


def organization_record(organization: Organization) -> dict[str, Any]:
    """The organization and its rules."""
    return {
        "id": organization.pk,
        "name": organization.name,
        "requires_second_factor": organization.requires_second_factor,
        "session_hours": organization.session_hours,
        "created_at": organization.created_at,
    }


def member_records(organization: Organization) -> list[dict[str, Any]]:
    """Everybody who belongs to it, service accounts too."""
    members = Membership.objects.filter(organization=organization).select_related("user")
    return [
        {
            "user": member.user_id,
            "email": member.user.email,
            "name": member.user.name,
            "role": member.role,
            "is_service": member.user.is_service,
            "is_active": member.user.is_active,
            "since": member.created_at,
        }
        for member in members.order_by("created_at")
    ]


def team_records(organization: Organization) -> list[dict[str, Any]]:
    """Teams and who is in them."""
    teams = Team.objects.filter(organization=organization).order_by("pk")
    return [
        {
            "id": team.pk,
            "name": team.name,
            "created_at": team.created_at,
            "members": list(team.members.values_list("membership__user_id", flat=True)),
        }
        for team in teams
    ]


def audit_records(organization: Organization) -> Iterator[dict[str, Any]]:
    """The audit log, oldest first."""
    for event in pages(AuditEvent.objects.filter(organization=organization)):
        yield {
            "id": event.pk,
            "at": event.created_at,
            "actor": event.actor_id,
            "token": event.token_id or None,
            "action": event.action,
            "object": event.object_id,
            "details": event.details,
            "address": event.address,
        }


def model_records() -> list[dict[str, Any]]:
    """The models that the organization can use: its own and the public ones, without weights."""
    assets = ModelAsset.objects.prefetch_related("versions__files").order_by("pk")
    return [
        {
            "id": asset.pk,
            "name": asset.name,
            "kind": asset.kind,
            "is_public": asset.organization_id is None,
            "licence": asset.licence,
            "description": asset.description,
            "presets": asset.presets,
            "versions": [
                {
                    "id": version.pk,
                    "number": version.number,
                    "digest": version.digest,
                    "architecture": version.architecture,
                    "trigger_words": version.trigger_words,
                    "files": list(version.files.values("path", "sha256", "size_bytes")),
                }
                for version in asset.versions.all()
            ],
        }
        for asset in assets
    ]


def workspace_record(workspace: Workspace) -> dict[str, Any]:
    """The workspace and who was let into it."""
    grants = workspace.grants.select_related("membership").order_by("pk")
    return {
        "id": workspace.pk,
        "name": workspace.name,
        "color": workspace.color,
        "is_restricted": workspace.is_restricted,
        "created_at": workspace.created_at,
        "grants": [
            {
                "user": grant.membership.user_id if grant.membership else None,
                "team": grant.team_id,
                "role": grant.role,
                "since": grant.created_at,
            }
            for grant in grants
        ],
    }


def project_records(workspace: Workspace, note: Note) -> Iterator[dict[str, Any]]:
    """Projects with their names."""
    for project in pages(Project.objects.filter(workspace=workspace)):
        sealed = bytes(project.sealed_name)
        try:
            opened = open_in(workspace, sealed, kind=NAME_KIND, object_id=project.pk)
            name: str | None = opened.decode()
        except SealBrokenError:
            note(f"{project.pk}: its name does not open")
            name = None
        yield {
            "id": project.pk,
            "name": name,
            "color": project.color,
            "created_by": project.created_by_id,
            "created_at": project.created_at,
            "archived_at": project.archived_at,
        }


def link_records(workspace: Workspace, note: Note) -> Iterator[dict[str, Any]]:
    """Share links, without what would open them."""
    for link in pages(ShareLink.objects.filter(workspace=workspace)):
        link.workspace = workspace
        try:
            words: ShareText | None = text_of(link)
        except SealBrokenError:
            note(f"{link.pk}: its title does not open")
            words = None
        yield {
            "id": link.pk,
            "title": words and words.title,
            "watermark": words and words.watermark,
            "project": link.project_id,
            "outputs": link.output_ids,
            "opens": link.opens,
            "created_by": link.created_by_id,
            "created_at": link.created_at,
            "expires_at": link.expires_at,
            "revoked_at": link.revoked_at,
        }


def wildcard_records(workspace: Workspace, note: Note) -> Iterator[dict[str, Any]]:
    """Lists of words for prompts."""
    for found in lists_of(workspace):
        if not found.name:
            note(f"the wildcard list {found.id} cannot be opened")
        yield {"id": found.id, "name": found.name, "entries": list(found.entries)}


def job_records(workspace: Workspace, note: Note) -> Iterator[dict[str, Any]]:
    """Jobs with their recipes; one whose recipe does not open is there without."""
    jobs = Job.objects.filter(workspace=workspace).select_related("model_version")
    jobs = jobs.prefetch_related("inputs")
    for job in pages(jobs):
        job.workspace = workspace  # so that its key is unwrapped once, and read again when it moves
        try:
            recipe: dict[str, object] | None = open_recipe(job).to_wire()
        except ValueError:  # of which a broken seal is one; the recipe of a later release another
            note(f"{job.pk}: its recipe does not open")
            recipe = None
        inputs = {given.role: given.artifact_id for given in job.inputs.all()}
        yield {
            "id": job.pk,
            "created_by": job.created_by_id,
            "status": job.status,
            "tier": job.tier,
            "project": job.project_id,
            "model": job.model_version.digest,
            "recipe": recipe,
            "starting_picture": inputs.get(InputRole.IMAGE),
            "mask": inputs.get(InputRole.MASK),
            "controls": _of_list(inputs, "control_"),
            "references": _of_list(inputs, "reference_"),
            "rerun_of": job.rerun_of_id,
            "submitted_at": job.submitted_at,
            "started_at": job.started_at,
            "ended_at": job.ended_at,
            "error_code": job.error_code or None,
        }


def outputs_in(workspace: Workspace) -> Iterator[Output]:
    """Pictures with where their bytes lie, those in the trash too."""
    for output in pages(Output.objects.filter(workspace=workspace).select_related("picture")):
        output.workspace = output.picture.workspace = workspace
        yield output


def output_record(output: Output, note: Note) -> dict[str, Any]:
    """What a picture is and, in its manifest, how it can be made again."""
    try:
        manifest: dict[str, object] | None = open_manifest(output)
    except ValueError:  # as above
        note(f"{output.pk}: its manifest does not open")
        manifest = None
    picture = output.picture
    return {
        "id": output.pk,
        "job": output.job_id,
        "index": output.index,
        "seed": output.seed,
        "project": output.project_id,
        "created_at": output.created_at,
        "trashed_at": output.trashed_at,
        "sha256": picture.sha256,
        "size_bytes": picture.size_bytes,
        "media_type": picture.media_type,
        "width": picture.width,
        "height": picture.height,
        "engine": output.engine,
        "manifest": manifest,
    }


def inputs_in(workspace: Workspace) -> Iterator[Artifact]:
    """Starting pictures."""
    stored = Artifact.objects.filter(
        workspace=workspace,
        kind=ArtifactKind.INPUT.value,
        status=ArtifactStatus.STORED.value,
    )
    for artifact in pages(stored):
        artifact.workspace = workspace
        yield artifact


def _of_list(inputs: Mapping[str, str], prefix: str) -> list[str]:
    """The pictures that a list of the recipe names, in its order."""
    return [artifact for role, artifact in sorted(inputs.items()) if role.startswith(prefix)]
