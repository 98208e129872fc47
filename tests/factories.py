"""One plain function per noun; everything has a default, tests say what matters.

Rows are made by the product's own services wherever there is one. Scopes are opened here, so that
tests need to open them only for what they read themselves.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone
from PIL import Image

from accounts.actors import Actor
from accounts.models import Invitation, Membership, Organization, Team, TeamMember, User
from accounts.roles import Role, WorkspaceRole
from accounts.selectors import find_actor
from accounts.services.invitations import Offer, invite
from accounts.services.tokens import create_token
from accounts.token_limits import NO_LIMITS, Limits
from gpuagent.protocol.manifest import build_manifest
from gpuagent.protocol.messages import AttemptFinish, Heartbeat, ModelRef, OutputCommit, StoredFile
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.sealing import Context, seal
from gpuagent.protocol.taxonomy import FileKind
from jobs.models import Agent, Grid, Job, JobAttempt, Output, Wildcard
from jobs.recipes import open_recipe
from jobs.scheduling import Placement, Tier, WaitingJob
from jobs.services import grids
from jobs.services.claiming import claim_attempt
from jobs.services.fleet import create_agent
from jobs.services.grids import plan_grid
from jobs.services.leasing import lease_attempt
from jobs.services.reporting import commit_output, finish_attempt
from jobs.services.sharing import Terms, create_share
from jobs.services.submission import submit_job
from jobs.services.wildcards import add_wildcard
from library.models import ModelUpload, ModelVersion
from library.services.registration import Description, register_model
from library.services.uploads import begin_upload
from library.uploads import Details
from studio.core import storage
from studio.core.keys import open_with_master
from studio.core.models import OutgoingMail
from studio.core.scoping import organization_scope, system_scope
from workspaces.models import (
    Artifact,
    ArtifactKind,
    Project,
    ShareLink,
    Workspace,
    WorkspaceGrant,
)
from workspaces.services.artifacts import artifact_context, store_bytes
from workspaces.services.keys import data_key
from workspaces.services.projects import create_project

GIB = 1024**3
PASSWORD = "a long and quiet password"
PROMPT = "photo of a blue car on a beach"
ENGINE: Mapping[str, object] = {"torch": "2.13.0", "device": "cpu", "threads": 1}
HOUSE = Path(__file__).resolve().parents[1] / "house" / "model"

_numbers = count(1)


def make_user(email: str = "", *, name: str = "") -> User:
    return User.objects.create_user(
        email or f"user{next(_numbers)}@example.org", PASSWORD, name=name
    )


def make_organization(name: str = "Alpha") -> Organization:
    return Organization.objects.create(name=name)


def make_member(
    organization: Organization, role: Role = Role.ARTIST, *, email: str = "", name: str = ""
) -> User:
    user = make_user(email, name=name)
    Membership.objects.create(user=user, organization=organization, role=role.value)
    return user


def make_workspace(organization: Organization, name: str = "Room") -> Workspace:
    with organization_scope(organization.pk):
        return Workspace.objects.create(organization=organization, name=name)


def make_team(organization: Organization, *users: User, name: str = "Team") -> Team:
    with organization_scope(organization.pk):
        team = Team.objects.create(organization=organization, name=name)
        for membership in Membership.objects.filter(organization=organization, user__in=users):
            TeamMember.objects.create(organization=organization, team=team, membership=membership)
    return team


def make_grant(
    workspace: Workspace,
    to: User | Team,
    role: WorkspaceRole = WorkspaceRole.ARTIST,
) -> WorkspaceGrant:
    """Lets a member or a team into a workspace."""
    with organization_scope(workspace.organization_id):
        whom: dict[str, Membership | Team] = {}
        if isinstance(to, Team):
            whom["team"] = to
        else:
            whom["membership"] = Membership.objects.get(
                user=to, organization_id=workspace.organization_id
            )
        return WorkspaceGrant.objects.create(
            organization_id=workspace.organization_id, workspace=workspace, role=role, **whom
        )


def restrict(workspace: Workspace) -> Workspace:
    """Closes the workspace to all but owners, admins and those with a grant."""
    with organization_scope(workspace.organization_id):
        Workspace.objects.filter(pk=workspace.pk).update(is_restricted=True)
        workspace.refresh_from_db()
    return workspace


def make_actor(user: User, organization: Organization) -> Actor:
    actor = find_actor(user.pk, organization.pk)
    assert actor is not None, f"{user.email} is no member of {organization.name}"
    return actor


def make_token(
    user: User, organization: Organization, *, name: str = "script", limits: Limits = NO_LIMITS
) -> str:
    """The plain text of a new API token."""
    actor = make_actor(user, organization)
    with organization_scope(organization.pk):
        _token, plain = create_token(actor=actor, name=name, limits=limits)
    return plain


def make_safetensors(tensors: Mapping[str, bytes]) -> bytes:
    """A sound safetensors file of U8 tensors."""
    header: dict[str, object] = {}
    offset = 0
    for name, content in tensors.items():
        end = offset + len(content)
        header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(tensors.values())


def make_tiny_folder(folder: Path, *, weights: bytes = b"weights") -> Path:
    """A diffusers folder of the house model's form, a thousandth of its size."""
    for part in ("model_index.json", "unet/config.json", "vae/config.json"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HOUSE / part, folder / part)
    for part in ("unet", "vae"):
        content = make_safetensors({part: weights})
        (folder / part / "diffusion_pytorch_model.safetensors").write_bytes(content)
    return folder


def make_model_upload(organization: Organization, *, size_bytes: int = 64) -> ModelUpload:
    """A file of which nothing has arrived."""
    owner = make_member(organization, Role.ADMIN)
    with organization_scope(organization.pk):
        upload, _is_new = begin_upload(
            actor=Actor.of(owner.pk, organization.pk, Role.ADMIN),
            file_name="file.safetensors",
            size_bytes=size_bytes,
            details=Details(name="A file"),
            fingerprint="",
        )
    return upload


def make_model_version(
    *,
    organization: Organization | None = None,
    folder: Path = HOUSE,
    name: str = "House",
    presets: Sequence[object] | None = None,
) -> ModelVersion:
    """Registered by the path that every model takes; without an organization it is public."""
    description = Description(name=name, licence="CC0", example_prompts=(PROMPT,), presets=presets)
    with system_scope():
        return register_model(
            folder, description, organization_id=organization.pk if organization else None
        )


@dataclass(frozen=True, slots=True)
class AgentHandle:
    """An agent's row and the token it was given."""

    row: Agent
    token: str

    @property
    def header(self) -> str:
        return f"Bearer {self.token}"


def make_agent(
    name: str = "",
    *,
    is_local: bool = True,
    memory_bytes: int = 8 * GIB,
    is_ready: bool = True,
    boot_id: str = "boot-1",
) -> AgentHandle:
    """An agent that was heard of just now."""
    row, token = create_agent(name or f"agent-{next(_numbers)}", is_local=is_local)
    now = timezone.now()
    Agent.objects.filter(pk=row.pk).update(
        boot_id=boot_id,
        memory_bytes=memory_bytes,
        is_ready=is_ready,
        device="cpu",
        registered_at=now,
        last_seen_at=now,
    )
    row.refresh_from_db()
    return AgentHandle(row, token)


def make_heartbeat(agent: Agent, *, is_ready: bool = True) -> Heartbeat:
    return Heartbeat(boot_id=agent.boot_id, ready=is_ready, warm=(), attempts=())


def make_job(actor: Actor, workspace: Workspace, *, tier: str | None = None, **raw: object) -> Job:
    """A queued job, submitted as an artist would."""
    with organization_scope(actor.organization_id):
        values = {"prompt": PROMPT, "seed": 7, **raw}
        return submit_job(actor=actor, workspace=workspace, raw=values, tier=tier).job


def make_placement(job: Job, agent: Agent) -> Placement:
    """What the scheduler would answer."""
    waiting = WaitingJob(
        id=job.pk,
        organization_id=job.organization_id,
        user_id=job.created_by_id,
        tier=Tier(job.tier),
        model_digest="digest",
        cost_seconds=job.cost_seconds,
        memory_bytes=job.memory_bytes,
        submitted_at=job.submitted_at.timestamp(),
    )
    return Placement(job=waiting, agent_id=agent.pk, swap_seconds=0.0)


def make_attempt(job: Job, agent: Agent) -> JobAttempt:
    """The next attempt of a queued job, leased to the agent."""
    with system_scope():
        attempt = lease_attempt(make_placement(job, agent), boot_id=agent.boot_id)
    assert attempt is not None, f"{job.pk} is not queued"
    return attempt


def make_png(color: str = "teal", *, size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def make_webp(color: str = "teal", *, size: tuple[int, int] = (32, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "WEBP")
    return file.getvalue()


def put_sealed(artifact_id: str, content: bytes) -> StoredFile:
    """Seal bytes under the artifact's own key, put them to the store, say so as an agent would."""
    with system_scope():
        artifact = Artifact.objects.select_related("workspace").get(pk=artifact_id)
    key = data_key(artifact.workspace, artifact.wrapped_key)
    sealed = seal(content, key=key, context=artifact_context(artifact))
    storage.put(artifact.storage_key, sealed)
    is_picture = artifact.kind == ArtifactKind.PICTURE.value
    return StoredFile(
        artifact_id=artifact_id,
        kind=FileKind(artifact.kind),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        sealed_bytes=len(sealed),
        media_type="image/png" if is_picture else "image/webp",
        width=64 if is_picture else 32,
        height=64 if is_picture else 32,
    )


def make_manifest(
    job: Job,
    index: int,
    engine: Mapping[str, object] = ENGINE,
    adapters: Sequence[ModelRef] = (),
) -> dict[str, object]:
    return build_manifest(
        open_recipe(job),
        index=index,
        model_name="House",
        model_digest="digest",
        architecture="sd15",
        engine=engine,
        adapters=adapters,
    )


def make_commit(
    attempt: JobAttempt,
    files: tuple[StoredFile, ...],
    *,
    index: int = 0,
    engine: Mapping[str, object] = ENGINE,
    adapters: Sequence[ModelRef] = (),
) -> OutputCommit:
    with system_scope():
        job = Job.objects.select_related("workspace").get(pk=attempt.job_id)
    manifest = make_manifest(job, index, engine, adapters)
    return OutputCommit(fence=attempt.fence, index=index, manifest=manifest, files=files)


def make_stored_pair(
    agent: Agent, attempt: JobAttempt, *, index: int = 0, color: str = "teal"
) -> tuple[StoredFile, StoredFile]:
    """Claim the attempt and put both sealed files of a picture."""
    with system_scope():
        assignment = claim_attempt(agent, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
    targets = {t.kind: t.artifact_id for t in assignment.targets if t.index == index}
    return (
        put_sealed(targets[FileKind.PICTURE], make_png(color)),
        put_sealed(targets[FileKind.THUMBNAIL], make_webp(color)),
    )


def run_attempt(
    attempt: JobAttempt,
    agent: Agent,
    *,
    color: str = "teal",
    engine: Mapping[str, object] = ENGINE,
    finish: bool = True,
) -> list[Output]:
    """Do what an agent does: claim, store, commit, finish."""
    with system_scope():
        assignment = claim_attempt(agent, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
        contents = {FileKind.PICTURE: make_png(color), FileKind.THUMBNAIL: make_webp(color)}
        for index in sorted({target.index for target in assignment.targets}):
            files = tuple(
                put_sealed(target.artifact_id, contents[target.kind])
                for target in assignment.targets
                if target.index == index
            )
            laid = assignment.adapters
            made = make_commit(attempt, files, index=index, engine=engine, adapters=laid)
            commit_output(agent, attempt.pk, made)
        if finish:
            message = AttemptFinish(fence=attempt.fence, status="succeeded")
            finish_attempt(agent, attempt.pk, message)
        related = ("workspace", "picture", "thumbnail", "job__workspace", "job__created_by")
        outputs = Output.objects.select_related(*related).filter(job_id=attempt.job_id)
        return list(outputs.order_by("index"))


def make_output(
    actor: Actor,
    workspace: Workspace,
    agent: Agent,
    *,
    color: str = "teal",
    engine: Mapping[str, object] = ENGINE,
    tier: str | None = None,
    **raw: object,
) -> Output:
    """The first picture of a job that was made from submission to finish."""
    job = make_job(actor, workspace, tier=tier, **raw)
    return run_attempt(make_attempt(job, agent), agent, color=color, engine=engine)[0]


def make_input(
    workspace: Workspace, content: bytes | None = None, *, size: tuple[int, int] = (64, 64)
) -> Artifact:
    """A stored starting picture."""
    with organization_scope(workspace.organization_id):
        return store_bytes(
            workspace,
            content or make_png(),
            kind=ArtifactKind.INPUT,
            media_type="image/png",
            width=size[0],
            height=size[1],
        )


def make_project(actor: Actor, workspace: Workspace, name: str = "Spring campaign") -> Project:
    """An open project."""
    with organization_scope(actor.organization_id):
        return create_project(actor=actor, workspace=workspace, name=name)


def make_wildcard(
    actor: Actor,
    workspace: Workspace,
    name: str = "colors",
    entries: Sequence[str] = ("red", "green", "blue"),
) -> Wildcard:
    """A list of words for prompts."""
    with organization_scope(actor.organization_id):
        return add_wildcard(actor=actor, workspace=workspace, name=name, entries=list(entries))


def make_grid(actor: Actor, workspace: Workspace, **raw: object) -> Grid:
    """Two pictures side by side, of two seeds; `axes` if others are wanted."""
    axes = raw.pop("axes", [{"parameter": "seed", "values": ["1", "2"]}])
    with organization_scope(actor.organization_id):
        values = {"prompt": PROMPT, "seed": 7, **raw}
        plan = plan_grid(actor=actor, workspace=workspace, raw=values, axes=axes)
        return grids.make_grid(actor=actor, workspace=workspace, plan=plan).grid


def make_share(
    actor: Actor,
    workspace: Workspace,
    *,
    project: Project | None = None,
    outputs: Sequence[Output] = (),
    **terms: Any,  # noqa: ANN401  # the fields of Terms
) -> tuple[ShareLink, str]:
    """A link and the secret of its address."""
    with organization_scope(actor.organization_id):
        return create_share(
            actor=actor,
            workspace=workspace,
            terms=Terms(**terms),
            project=project,
            output_ids=[output.pk for output in outputs],
        )


def stored_recipe(job: Job) -> dict[str, object]:
    """What the job's sealed column says."""
    return parse_recipe(open_recipe(job).to_wire()).to_wire()


def overdue(attempt: JobAttempt) -> None:
    """Let the lease have run out a moment ago."""
    past = timezone.now() - timedelta(seconds=1)
    with system_scope():
        JobAttempt.objects.filter(pk=attempt.pk).update(lease_expires_at=past)


def long_unclaimed(attempt: JobAttempt) -> None:
    """Let the attempt have been sent longer ago than agents take to claim."""
    past = timezone.now() - timedelta(seconds=settings.UNCLAIMED_RESEND_SECONDS + 1)
    with system_scope():
        JobAttempt.objects.filter(pk=attempt.pk).update(sent_at=past)


def make_invitation(
    actor: Actor, email: str = "new@example.org", role: Role = Role.ARTIST, *, team_id: str = ""
) -> tuple[Invitation, str]:
    """An open invitation and the key of its link, as the letter says it."""
    with organization_scope(actor.organization_id):
        offer = Offer(role=role.value, team_id=team_id)
        [invitation] = invite(actor=actor, emails=[email], offer=offer)
    return invitation, read_letter(invitation).key


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail on its way."""

    to: str
    subject: str
    body: str

    @property
    def key(self) -> str:
        """The secret part of the link."""
        return self.body.partition("/join?key=")[2].split()[0]


def read_letter(invitation: Invitation) -> Letter:
    """What the mail of an invitation says, before it is sent."""
    row = OutgoingMail.objects.get(pk=invitation.mail_id)
    context = Context(organization="", object_id=row.pk, kind="mail")
    return Letter(**json.loads(open_with_master(row.sealed, context=context)))
