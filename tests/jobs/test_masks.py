"""Jobs under a mask and extended pictures: what is asked for, handed out, kept, made again."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone
from PIL import Image

from accounts.actors import Actor
from accounts.models import AuditEvent, User
from gpuagent.protocol.messages import Assignment
from gpuagent.protocol.sealing import Context, open_sealed
from gpuagent.protocol.wire import from_wire
from jobs.models import InputRole, Job, JobInput, Output
from jobs.presenters import output_tile
from jobs.recipes import open_manifest, open_recipe
from jobs.services.inputs import sweep_inputs
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import PROMPT, AgentHandle
from workspaces.models import Artifact, Workspace
from workspaces.services.artifacts import read_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]
SCRIPT = {"HX-Request": "true"}


@pytest.fixture
def picture(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, factories.make_png("teal"))


@pytest.fixture
def mask(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, factories.make_png("white", size=(32, 32)))


def problems(actor: Actor, workspace: Workspace, **raw: object) -> list[tuple[str, str]]:
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=actor, workspace=workspace, raw={"prompt": PROMPT, **raw})
    assert all(problem.message.endswith(".") for problem in caught.value.problems)
    return [(problem.field, problem.code) for problem in caught.value.problems]


def roles_of(job: Job) -> dict[str, str]:
    with system_scope():
        return dict(JobInput.objects.filter(job=job).values_list("role", "artifact_id"))


def test_a_job_keeps_both_of_its_pictures(
    bob_in_a: Actor, workspace: Workspace, picture: Artifact, mask: Artifact
) -> None:
    job = factories.make_job(
        bob_in_a, workspace, image=picture.sha256, mask=mask.sha256, mask_blur=9
    )
    assert roles_of(job) == {"image": picture.pk, "mask": mask.pk}
    recipe = factories.stored_recipe(job)
    assert (recipe["mask"], recipe["mask_blur"], recipe["strength"]) == (mask.sha256, 9, 1.0)

    with system_scope():
        Artifact.objects.update(created_at=timezone.now() - timedelta(days=400))
        assert sweep_inputs() == 0


def test_one_picture_may_be_its_own_mask(
    bob_in_a: Actor, workspace: Workspace, picture: Artifact, agent: AgentHandle
) -> None:
    job = factories.make_job(bob_in_a, workspace, image=picture.sha256, mask=picture.sha256)
    assert roles_of(job) == {"image": picture.pk, "mask": picture.pk}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"mask": "MASK"}, ("mask", "needs_image")),
        ({"image": "IMAGE", "mask": "0" * 64}, ("mask", "unknown_image")),
        ({"image": "IMAGE", "inpaint_area": "masked"}, ("inpaint_area", "needs_mask")),
        ({"outpaint_left": 8}, ("outpaint_left", "needs_image")),
        ({"image": "IMAGE", "mask": "MASK", "outpaint_top": 8}, ("outpaint_top", "not_with_mask")),
        ({"image": "IMAGE", "outpaint_top": 200}, ("outpaint_top", "leaves_too_little")),
    ],
)
def test_what_does_not_go_together_is_told(
    bob_in_a: Actor,
    workspace: Workspace,
    picture: Artifact,
    mask: Artifact,
    raw: dict[str, object],
    expected: tuple[str, str],
) -> None:
    named: dict[object, object] = {"IMAGE": picture.sha256, "MASK": mask.sha256}
    values = {name: named.get(value, value) for name, value in raw.items()}
    assert problems(bob_in_a, workspace, **values) == [expected]
    with system_scope():
        assert not Job.objects.exists()


def test_a_mask_of_another_workspace_or_organization_does_not_exist(
    bob_in_a: Actor, workspace: Workspace, workspace_b: Workspace, picture: Artifact
) -> None:
    with organization_scope(workspace.organization_id):
        second = Workspace.objects.create(organization=workspace.organization, name="Second")
    for place in (second, workspace_b):
        foreign = factories.make_input(place, factories.make_png("white"))
        found = problems(bob_in_a, workspace, image=picture.sha256, mask=foreign.sha256)
        assert found == [("mask", "unknown_image")]


def test_missing_picture_and_mask_are_told_at_once(bob_in_a: Actor, workspace: Workspace) -> None:
    found = problems(bob_in_a, workspace, image="0" * 64, mask="1" * 64)
    assert found == [("image", "unknown_image"), ("mask", "unknown_image")]


def test_an_agent_is_handed_both_and_nobody_else(
    agent_client: Client,
    agent: AgentHandle,
    bob_in_a: Actor,
    workspace: Workspace,
    picture: Artifact,
    mask: Artifact,
) -> None:
    job = factories.make_job(bob_in_a, workspace, image=picture.sha256, mask=mask.sha256)
    other = factories.make_input(workspace, factories.make_png("navy"))
    attempt = factories.make_attempt(job, agent.row)
    claim = {"type": "attempt.claim", "fence": attempt.fence, "boot_id": agent.row.boot_id}
    answer = agent_client.post(f"/agent/v1/attempts/{attempt.pk}/claim", claim, "application/json")
    assignment = from_wire(Assignment, answer.json())
    assert {given.sha256 for given in assignment.inputs} == {picture.sha256, mask.sha256}
    for given in assignment.inputs:
        address = f"/agent/v1/attempts/{attempt.pk}/inputs/{given.artifact_id}"
        assert urlsplit(given.url).scheme in ("file", "http", "https")
        sealed = b"".join(agent_client.get(address))
        context = Context(
            organization=workspace.organization_id, object_id=given.artifact_id, kind="input"
        )
        plain = open_sealed(sealed, key=base64.b64decode(given.data_key), context=context)
        assert plain in (factories.make_png("teal"), factories.make_png("white", size=(32, 32)))
    address = f"/agent/v1/attempts/{attempt.pk}/inputs/{other.pk}"
    assert agent_client.get(address).status_code == 404
    second = Client(headers={"Authorization": f"Bearer {factories.make_agent().token}"})
    stolen = f"/agent/v1/attempts/{attempt.pk}/inputs/{mask.pk}"
    assert second.get(stolen).status_code == 404


@pytest.mark.parametrize(
    "more", [{"mask": "MASK", "inpaint_area": "masked", "mask_padding": 7}, {"outpaint_left": 32}]
)
def test_a_picture_is_made_again_from_its_manifest(
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    picture: Artifact,
    mask: Artifact,
    more: dict[str, object],
) -> None:
    settings: dict[str, Any] = {
        name: mask.sha256 if value == "MASK" else value for name, value in more.items()
    }
    output = factories.make_output(
        bob_in_a, workspace, agent.row, image=picture.sha256, num_images_per_prompt=2, **settings
    )
    with organization_scope(workspace.organization_id):
        recipe = open_manifest(output)["recipe"]
        assert isinstance(recipe, dict)
        assert {**recipe, **settings} == recipe
        again = rerun_output(output=output, actor=bob_in_a).job
        assert open_recipe(again) == open_recipe(output.job).only(0)
        assert roles_of(again) == roles_of(output.job)


def test_a_tile_is_as_large_as_its_picture(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle, picture: Artifact, mask: Artifact
) -> None:
    """With the masked area, width and height are not the result's."""
    output = factories.make_output(
        bob_in_a,
        workspace,
        agent.row,
        image=picture.sha256,
        mask=mask.sha256,
        inpaint_area="masked",
        width=256,
    )
    with organization_scope(workspace.organization_id):
        tile = output_tile(output)
    assert (tile["width"], tile["height"]) == (output.picture.width, output.picture.height)
    assert tile["width"] != 256


# ------------------------------------------------------------------ pages and API


def test_the_form_of_the_room_asks_for_masks_and_extensions(bobs: Client, room: str) -> None:
    text = text_of(bobs.get(f"{room}/"))
    for name in ("mask", "mask_blur", "inpaint_area", "mask_padding"):
        assert f'name="{name}"' in text
    for side in ("left", "top", "right", "bottom"):
        assert f'name="outpaint_{side}"' in text
        assert f'id="error_outpaint_{side}"' in text


def test_the_form_submits_a_mask_and_is_told_what_is_wrong_with_it(
    bobs: Client, room: str, picture: Artifact, mask: Artifact
) -> None:
    form = {"prompt": PROMPT, "image": picture.sha256, "mask": mask.sha256, "mask_blur": "12"}
    made = bobs.post(f"{room}/jobs", form, headers=SCRIPT)
    assert made.status_code == 201
    with system_scope():
        assert set(roles_of(Job.objects.get())) == {"image", "mask"}

    form |= {"image": "", "mask_blur": "wide"}
    refused = bobs.post(f"{room}/jobs", form, headers={**SCRIPT, "Accept": "application/json"})
    assert refused.status_code == 422
    fields = {error["field"] for error in refused.json()["errors"]}
    assert fields == {"mask", "mask_blur"}


def test_a_picture_with_holes_brings_its_mask_along(
    bobs: Client, bob_api: Client, room: str, bob_in_a: Actor
) -> None:
    holed = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    holed.paste((0, 0, 0, 0), (0, 0, 64, 20))
    file = io.BytesIO()
    holed.save(file, "PNG")
    answers = []
    for client, address in ((bobs, f"{room}/uploads"), (bob_api, "/api/v1/uploads")):
        sent = io.BytesIO(file.getvalue())
        sent.name = "holed.png"
        answers.append(client.post(address, {"image": sent}).json())
    assert answers[0]["mask"] == answers[1]["mask"] != answers[0]["sha256"]
    body = {"prompt": PROMPT, "image": answers[0]["sha256"], "mask": answers[0]["mask"]}
    assert bob_api.post("/api/v1/jobs", body, "application/json").status_code == 201

    plain = io.BytesIO(factories.make_png())
    plain.name = "plain.png"
    assert bobs.post(f"{room}/uploads", {"image": plain}).json()["mask"] is None


def test_the_viewer_says_what_was_changed(
    bobs: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    room: str,
    picture: Artifact,
    mask: Artifact,
) -> None:
    masked = factories.make_output(
        bob_in_a, workspace, agent.row, image=picture.sha256, mask=mask.sha256
    )
    extended = factories.make_output(
        bob_in_a, workspace, agent.row, image=picture.sha256, outpaint_top=40
    )
    text = text_of(bobs.get(f"{room}/outputs/{masked.pk}"))
    assert mask.sha256[:12] in text
    assert "the whole picture" in text
    assert "40 top" in text_of(bobs.get(f"{room}/outputs/{extended.pk}"))


def test_what_was_made_becomes_a_starting_picture_pixel_for_pixel(
    bobs: Client, bob_api: Client, room: str, output: Output
) -> None:
    first = bobs.post(f"{room}/outputs/{output.pk}/start")
    second = bob_api.post(f"/api/v1/outputs/{output.pk}/start")
    assert (first.status_code, second.status_code) == (201, 201)
    body = first.json()
    assert body["sha256"] == second.json()["sha256"]
    assert body["sha256"] != output.picture.sha256
    with system_scope():
        stored = Artifact.objects.get(pk=body["id"])
        kept, made = (Image.open(io.BytesIO(read_all(a))) for a in (stored, output.picture))
        assert kept.tobytes() == made.convert("RGB").tobytes()
        assert kept.info == {}, "the manifest with its prompt must not come along"
        event = AuditEvent.objects.filter(action="upload.reused", object_id=stored.pk)
        assert event.count() == 2
    asked = {"prompt": PROMPT, "image": body["sha256"], "outpaint_left": 32}
    assert bob_api.post("/api/v1/jobs", asked, "application/json").status_code == 201


def test_who_may_not_upload_does_not_start_from_a_picture(
    client_of: Callable[[User], Client], victor: User, room: str, output: Output
) -> None:
    victors = client_of(victor)
    assert victors.post(f"{room}/outputs/{output.pk}/start").status_code == 403
    assert "Start from this picture" not in text_of(victors.get(f"{room}/outputs/{output.pk}"))


# ------------------------------------------------------------------ the table


@pytest.mark.django_db(transaction=True)
def test_the_migration_carries_starting_pictures_over_and_back(
    bob_in_a: Actor, workspace: Workspace, picture: Artifact, mask: Artifact
) -> None:
    job = factories.make_job(bob_in_a, workspace, image=picture.sha256, mask=mask.sha256)
    plain = factories.make_job(bob_in_a, workspace)

    graph = MigrationExecutor(connection).loader.graph
    [last] = [name for app, name in graph.leaf_nodes() if app == "jobs"]
    inputs = next(key for key in graph.nodes if key[0] == "jobs" and key[1].endswith("_inputs"))
    before = next(p.key[1] for p in graph.node_map[inputs].parents if p.key[0] == "jobs")

    def migrate(name: str) -> None:
        MigrationExecutor(connection).migrate([("jobs", name)])

    migrate(before)
    try:
        with system_scope(), connection.cursor() as cursor:
            cursor.execute("SELECT id, input_artifact_id FROM jobs_job ORDER BY id")
            assert cursor.fetchall() == [(job.pk, picture.pk), (plain.pk, None)]
    finally:
        migrate(last)
    assert roles_of(job) == {InputRole.IMAGE: picture.pk}
    assert roles_of(plain) == {}
