"""Controls in jobs: named, walled off, priced, sent to agents; maps drawn before they are used."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from PIL import Image, ImageDraw

from accounts.actors import Actor
from accounts.models import AuditEvent, User
from gpuagent.maps import make_map
from jobs.models import InputRole, Job, JobInput
from jobs.recipes import open_recipe
from jobs.services.claiming import claim_attempt
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from library.models import ModelAsset, ModelVersion
from library.selectors import usable_controls
from library.services.controls import register_controlnet
from library.services.registration import Description
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Artifact, Workspace
from workspaces.services.artifacts import read_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "workspace")]
CANNY = factories.HOUSE.parent / "adapters" / "canny"


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


@pytest.fixture
def edges(house: ModelVersion) -> ModelVersion:
    return registered("Edges")


def registered(name: str, owner: str | None = None) -> ModelVersion:
    with system_scope():
        return register_controlnet(CANNY, Description(name=name), organization_id=owner)


def drawing() -> Image.Image:
    picture = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(picture).rectangle((20, 16, 70, 50), fill="navy")
    return picture


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def picture(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, png(drawing()))


def canny(version: ModelVersion, picture: Artifact, **more: object) -> dict[str, object]:
    return {"kind": "canny", "model": version.digest, "image": picture.sha256, **more}


def problems(actor: Actor, workspace: Workspace, *controls: object) -> list[tuple[str, str, str]]:
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(
            actor=actor, workspace=workspace, raw={"prompt": "a mug", "controls": list(controls)}
        )
    return [(each.field, each.code, each.message) for each in caught.value.problems]


def test_every_role_of_a_recipes_pictures_is_known() -> None:
    roles = {role.value for role in InputRole}
    assert {f"control_{number}" for number in (1, 2, 3)} < roles


def test_a_job_keeps_its_pictures_and_counts_the_network(
    bob_in_a: Actor, workspace: Workspace, edges: ModelVersion, picture: Artifact
) -> None:
    plain = factories.make_job(bob_in_a, workspace)
    job = factories.make_job(
        bob_in_a,
        workspace,
        controls=[canny(edges, picture), canny(edges, picture, weight=0.5, end=0.5)],
    )
    with system_scope():
        kept = dict(JobInput.objects.filter(job=job).values_list("role", "artifact_id"))
    assert kept == {"control_1": picture.pk, "control_2": picture.pk}
    assert job.memory_bytes - plain.memory_bytes >= edges.weights_bytes
    assert job.cost_seconds > plain.cost_seconds


def test_foreign_pictures_and_networks_do_not_exist(
    bob_in_a: Actor,
    workspace: Workspace,
    workspace_b: Workspace,
    edges: ModelVersion,
    picture: Artifact,
) -> None:
    with organization_scope(workspace.organization_id):
        second = Workspace.objects.create(organization=workspace.organization, name="Second")
    for place in (second, workspace_b):
        foreign = factories.make_input(place, factories.make_png("white"))
        for given in ({"image": foreign.sha256}, {"map": foreign.sha256, "image": None}):
            pair = canny(edges, picture), canny(edges, picture, **given)
            found = problems(bob_in_a, workspace, *pair)
            assert [each[:2] for each in found] == [("controls", "unknown_image")]
            assert found[0][2].startswith("Control 2: ")
    theirs = ModelVersion.objects
    with system_scope():
        ModelAsset.objects.filter(pk=edges.asset_id).update(
            organization_id=workspace_b.organization_id
        )
        assert theirs.count()
    found = problems(bob_in_a, workspace, canny(edges, picture))
    assert [each[:2] for each in found] == [("controls", "unknown_controlnet")]
    assert "Edges" not in found[0][2]


def test_a_model_is_no_controlnet(
    bob_in_a: Actor, workspace: Workspace, house: ModelVersion, picture: Artifact
) -> None:
    found = problems(bob_in_a, workspace, canny(house, picture))
    assert [each[:2] for each in found] == [("controls", "unknown_controlnet")]


def test_one_that_does_not_fit_is_refused_by_name(
    bob_in_a: Actor, workspace: Workspace, edges: ModelVersion, picture: Artifact, tmp_path: Path
) -> None:
    tiny = factories.make_model_version(
        folder=factories.make_tiny_folder(tmp_path / "tiny"), name="Tiny"
    )
    raw = {"prompt": "a mug", "model": tiny.digest, "controls": [canny(edges, picture)]}
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=bob_in_a, workspace=workspace, raw=raw)
    (found,) = caught.value.problems
    assert (found.field, found.code) == ("controls", "unfit")
    assert found.message.startswith("Edges does not fit Tiny: only ")


def test_the_agent_is_handed_each_network_and_picture_once(
    bob_in_a: Actor,
    workspace: Workspace,
    edges: ModelVersion,
    picture: Artifact,
    agent: AgentHandle,
) -> None:
    job = factories.make_job(bob_in_a, workspace, controls=[canny(edges, picture)] * 2)
    with system_scope():
        attempt = factories.make_attempt(job, agent.row)
        told = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
    assert [(ref.name, ref.kind.value) for ref in told.adapters] == [("Edges", "controlnet")]
    assert {file.path for file in told.adapters[0].files} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    assert [ref.sha256 for ref in told.inputs] == [picture.sha256]


def test_run_again_says_what_is_missing(
    bob_in_a: Actor,
    workspace: Workspace,
    edges: ModelVersion,
    picture: Artifact,
    agent: AgentHandle,
) -> None:
    output = factories.make_output(bob_in_a, workspace, agent.row, controls=[canny(edges, picture)])
    with organization_scope(workspace.organization_id):
        again = rerun_output(output=output, actor=bob_in_a).job
        assert factories.stored_recipe(again)["controls"]
        with system_scope():
            ModelAsset.objects.filter(pk=edges.asset_id).delete()
        with pytest.raises(InvalidInputError) as caught:
            rerun_output(output=output, actor=bob_in_a)
    assert [(p.field, p.code) for p in caught.value.problems] == [
        ("controls", "unknown_controlnet")
    ]


def test_the_api_lists_draws_and_takes_controls(
    bob_api: Client, house: ModelVersion, edges: ModelVersion, picture: Artifact
) -> None:
    (listed,) = bob_api.get("/api/v1/controls").json()
    assert (listed["name"], listed["kinds"]) == ("Edges", ["canny"])
    assert listed["models"] == [house.digest]
    assert "Edges" not in {each["name"] for each in bob_api.get("/api/v1/adapters").json()}

    asked = {"image": picture.sha256, "kind": "canny", "width": 96, "height": 64}
    drawn = post(bob_api, "/api/v1/maps", asked)
    assert drawn.status_code == 201
    with system_scope():
        kept = Artifact.objects.get(pk=drawn.json()["id"])
        with Image.open(io.BytesIO(read_all(kept))) as stored:
            shown = np.asarray(stored.convert("RGB"))
        assert AuditEvent.objects.filter(action="upload.mapped", object_id=kept.pk).exists()
    assert np.array_equal(shown, np.asarray(make_map("canny", drawing())))
    assert shown.any()
    # And it can be used, or anything in its place
    use = {"kind": "canny", "model": edges.digest, "map": drawn.json()["sha256"], "weight": 1}
    made = post(bob_api, "/api/v1/jobs", {"prompt": "a mug", "controls": [use]})
    assert made.status_code == 201
    assert made.json()["recipe"]["controls"] == [{**use, "start": 0, "end": 1}]
    again = post(bob_api, "/api/v1/maps", asked)
    assert again.json()["sha256"] == drawn.json()["sha256"]


@pytest.mark.parametrize(
    ("asked", "field", "code"),
    [
        ({}, "image", "needs_image"),
        ({"image": "x"}, "image", "unknown_image"),
        ({"kind": "depth"}, "kind", "unknown_kind"),
        ({"width": 9_999}, "width", "out_of_range"),
        ({"height": "tall"}, "height", "not_a_number"),
        ({"low": 50, "high": 20}, "low", "low_above_high"),
        ({"wdith": 64}, "wdith", "unknown_field"),
        ({"image": "0" * 64}, "image", "unknown_image"),
    ],
)
def test_what_is_wrong_with_a_map_is_told(
    bob_api: Client, picture: Artifact, asked: dict[str, object], field: str, code: str
) -> None:
    given = {} if code == "needs_image" else {"image": picture.sha256, **asked}
    refused = post(bob_api, "/api/v1/maps", given)
    assert refused.status_code == 422
    assert [(e["field"], e["code"]) for e in problem(refused)["errors"]] == [(field, code)]


@pytest.mark.parametrize("kind", ["depth", "openpose"])
def test_of_maps_that_networks_make_it_is_told_how(
    bob_api: Client, picture: Artifact, kind: str
) -> None:
    refused = post(bob_api, "/api/v1/maps", {"image": picture.sha256, "kind": kind})
    (error,) = problem(refused)["errors"]
    assert f"POST jobs with map_kind {kind}" in error["message"]
    assert "Drawn here are: canny, lineart, scribble, tile." in error["message"]


def newest() -> Job:
    with system_scope():
        return Job.objects.select_related("workspace").order_by("-pk")[0]


def test_what_guided_a_picture_guides_it_again_or_a_tile_control_does(
    bobs: Client,
    bob_api: Client,
    bob_in_a: Actor,
    room: str,
    workspace: Workspace,
    agent: AgentHandle,
    edges: ModelVersion,
    picture: Artifact,
) -> None:
    led = {"kind": "canny", "model": edges.digest, "image": picture.sha256}
    job = factories.make_job(bob_in_a, workspace, controls=[led])
    [output] = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    asked = f"/api/v1/outputs/{output.pk}/upscale"
    assert "close to it" not in text_of(bobs.get(f"{room}/outputs/{output.pk}"))
    assert post(bob_api, asked, {"scale": 2, "refine": 0.3}).status_code == 201
    again = open_recipe(newest()).to_wire()["controls"]
    assert isinstance(again, list)
    assert [{name: use[name] for name in led} for use in again] == [led]
    # A network that reads tiles keeps it to the picture itself
    with system_scope():
        edges.trigger_words = ["tile"]
        edges.save()
    page = text_of(bobs.get(f"{room}/outputs/{output.pk}"))
    assert f'data-control="{edges.digest}"' in page
    body = {"scale": "2", "refine": "0.5", "control": edges.digest}
    assert bobs.post(f"{room}/outputs/{output.pk}/upscale", body).status_code in (200, 201)
    recipe = open_recipe(newest()).to_wire()
    follows = {"kind": "tile", "model": edges.digest, "weight": 1.0, "start": 0.0, "end": 1.0}
    assert recipe["controls"] == [follows]
    with system_scope():
        inputs = JobInput.objects.filter(job=newest()).values_list("role", flat=True)
        assert list(inputs) == ["image"]
    [newly] = factories.run_attempt(factories.make_attempt(newest(), agent.row), agent.row)
    assert "what is drawn again" in text_of(bobs.get(f"{room}/outputs/{newly.pk}"))
    [told] = problem(post(bob_api, asked, {"scale": 2, "control": edges.digest}))["errors"]
    assert (told["field"], told["code"]) == ("control", "needs_refine")
    refused = post(bob_api, asked, {"scale": 2, "refine": 0.3, "control": "f" * 64})
    [told] = problem(refused)["errors"]
    assert (told["field"], told["code"]) == ("controls", "unknown_controlnet")


def test_a_control_of_a_changed_part_is_left_out(
    bob_api: Client,
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    edges: ModelVersion,
    picture: Artifact,
) -> None:
    more: dict[str, Any] = {"image": picture.sha256, "outpaint_left": 64}
    job = factories.make_job(bob_in_a, workspace, controls=[canny(edges, picture)], **more)
    [output] = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    body = {"scale": 2, "refine": 0.3}
    assert post(bob_api, f"/api/v1/outputs/{output.pk}/upscale", body).status_code == 201
    assert "controls" not in open_recipe(newest()).to_wire()


def test_nobody_draws_a_map_of_a_foreign_picture(bob_api: Client, workspace_b: Workspace) -> None:
    foreign = factories.make_input(workspace_b, factories.make_png("white"))
    refused = post(bob_api, "/api/v1/maps", {"image": foreign.sha256, "kind": "tile"})
    assert refused.status_code == 422
    assert problem(refused)["errors"][0]["code"] == "unknown_image"


def test_the_room_offers_controls_draws_maps_and_takes_them_from_its_form(
    client_of: Callable[[User], Client],
    bob: User,
    workspace: Workspace,
    edges: ModelVersion,
    picture: Artifact,
) -> None:
    client = client_of(bob)
    page = client.get(f"/w/{workspace.pk}/").content.decode()
    assert f'<option value="{edges.digest}"' in page
    drawn = client.post(
        f"/w/{workspace.pk}/maps", {"image": picture.sha256, "kind": "scribble", "width": "128"}
    )
    assert drawn.status_code == 201
    assert drawn.json()["url"]
    text = f'[{{"kind": "canny", "model": "{edges.digest}", "image": "{picture.sha256}"}}]'
    made = client.post(
        f"/w/{workspace.pk}/jobs",
        {"prompt": "a mug", "controls": text},
        headers={"HX-Request": "true"},
    )
    assert made.status_code == 201
    with organization_scope(workspace.organization_id):
        recipe = factories.stored_recipe(Job.objects.get())
    assert recipe["controls"] == [
        {**canny(edges, picture), "weight": 1, "start": 0, "end": 1, "low": 6, "high": 16}
    ]


def test_prepare_registers_the_house_controlnet_once(house: ModelVersion) -> None:
    from jobs.management.commands.prepare import register_house_controlnet

    del house
    with system_scope():
        register_house_controlnet()
        register_house_controlnet()
        (version,) = usable_controls()
    assert (version.asset.name, version.trigger_words) == ("Edges", ["canny"])
    assert version.asset.organization_id is None


def test_references_are_inputs_of_the_job_and_walled_off(
    bob_in_a: Actor,
    workspace: Workspace,
    workspace_b: Workspace,
    house: ModelVersion,
    picture: Artifact,
) -> None:
    reference: dict[str, object] = {"image": picture.sha256, "weight": 0.5}
    plain = factories.make_job(bob_in_a, workspace)
    job = factories.make_job(bob_in_a, workspace, references=[reference])
    with system_scope():
        kept = dict(JobInput.objects.filter(job=job).values_list("role", "artifact_id"))
    assert kept == {"reference_1": picture.pk}
    assert job.cost_seconds > plain.cost_seconds
    assert house.architecture == "sd15"
    foreign = factories.make_input(workspace_b, factories.make_png("white"))
    raw = {"prompt": "a mug", "references": [reference, {"image": foreign.sha256}]}
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=bob_in_a, workspace=workspace, raw=raw)
    (found,) = caught.value.problems
    assert (found.field, found.code) == ("references", "unknown_image")
    assert found.message.startswith("Reference 2: ")
