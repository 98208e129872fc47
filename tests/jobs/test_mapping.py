"""Maps by networks of the library: filled in, walled off, priced, begun by the room."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import User
from gpuagent.protocol.taxonomy import Architecture
from jobs.control_choices import kind_choices
from jobs.models import InputRole, Job, JobInput
from jobs.recipes import open_recipe
from jobs.services.claiming import claim_attempt
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from jobs.wording import undrawn_name
from library.models import ModelAsset, ModelVersion
from library.services.controls import register_controlnet
from library.services.registration import Description, register_model
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from tests.mappers import bare_mapper
from workspaces.models import Artifact, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "workspace")]
CANNY = factories.HOUSE.parent / "adapters" / "canny"


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


@pytest.fixture
def net(house: ModelVersion) -> ModelVersion:
    with system_scope():
        return register_controlnet(CANNY, Description(name="Net"), organization_id=None)


@pytest.fixture
def depth(tmp_path: Path) -> ModelVersion:
    return registered(tmp_path / "depth", Architecture.DPT, "Depth")


@pytest.fixture
def pose(tmp_path: Path) -> ModelVersion:
    return registered(tmp_path / "pose", Architecture.VITPOSE, "Another pose")


def registered(
    folder: Path, architecture: Architecture, name: str, owner: str | None = None
) -> ModelVersion:
    with system_scope():
        return register_model(
            bare_mapper(folder, architecture), Description(name=name), organization_id=owner
        )


@pytest.fixture
def picture(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, factories.make_png("navy"))


def use(net: ModelVersion, picture: Artifact, **more: object) -> dict[str, object]:
    return {"kind": "depth", "model": net.digest, "image": picture.sha256, **more}


def problems(actor: Actor, workspace: Workspace, **raw: object) -> list[tuple[str, str, str]]:
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=actor, workspace=workspace, raw=raw)
    return [(each.field, each.code, each.message) for each in caught.value.problems]


def test_the_first_of_its_kind_makes_the_map_and_is_counted(
    bob_in_a: Actor,
    workspace: Workspace,
    net: ModelVersion,
    depth: ModelVersion,
    pose: ModelVersion,
    picture: Artifact,
    agent: AgentHandle,
) -> None:
    ready = use(net, picture, map=picture.sha256, image=None)
    plain = factories.make_job(bob_in_a, workspace, controls=[ready])
    job = factories.make_job(bob_in_a, workspace, controls=[use(net, picture)])
    # The first by name that makes depths is written into the recipe, so that it stays the same
    with organization_scope(workspace.organization_id):
        (made,) = open_recipe(job).controls
        (given,) = open_recipe(plain).controls
    assert made.mapper == depth.digest
    assert given.mapper is None
    assert job.memory_bytes - plain.memory_bytes >= depth.weights_bytes
    assert job.cost_seconds > plain.cost_seconds
    # and the agent is handed both networks
    with system_scope():
        attempt = factories.make_attempt(job, agent.row)
        work = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
    assert {(ref.kind, ref.digest) for ref in work.adapters} == {
        ("controlnet", net.digest),
        ("mapper", depth.digest),
    }


def test_without_one_a_ready_map_is_asked_for(
    bob_in_a: Actor, workspace: Workspace, net: ModelVersion, pose: ModelVersion, picture: Artifact
) -> None:
    found = problems(bob_in_a, workspace, prompt="a mug", controls=[use(net, picture)])
    assert [each[:2] for each in found] == [("controls", "needs_map")]
    assert found[0][2].startswith("Control 1: nothing in the library makes depth maps.")
    asked = {"map_kind": "depth", "image": picture.sha256}
    found = problems(bob_in_a, workspace, **asked)
    assert [each[:2] for each in found] == [("model", "unknown_model")]
    assert "Choose a map maker" in found[0][2]


def test_one_of_another_kind_or_of_others_is_refused(
    bob_in_a: Actor,
    workspace: Workspace,
    workspace_b: Workspace,
    net: ModelVersion,
    depth: ModelVersion,
    pose: ModelVersion,
    picture: Artifact,
) -> None:
    def said(mapper: ModelVersion) -> list[tuple[str, str, str]]:
        control = use(net, picture, mapper=mapper.digest)
        return problems(bob_in_a, workspace, prompt="a mug", controls=[control])

    assert said(pose)[0][:2] == ("controls", "other_map")
    assert "Another pose makes maps of the kind openpose, not depth" in said(pose)[0][2]
    assert said(net)[0][:2] == ("controls", "unknown_mapper")
    asked = {"map_kind": "depth", "image": picture.sha256}
    assert problems(bob_in_a, workspace, **asked, model=pose.digest)[0][1] == "other_map"
    assert problems(bob_in_a, workspace, **asked, model=net.digest)[0][1] == "unknown_model"
    drawn = problems(bob_in_a, workspace, prompt="a mug", model=depth.digest)
    assert drawn[0][:2] == ("model", "only_maps")
    # What another organization has registered does not exist
    with system_scope():
        ModelAsset.objects.filter(pk=depth.asset_id).update(
            organization_id=workspace_b.organization_id
        )
    found = said(depth)
    assert [each[:2] for each in found] == [("controls", "unknown_mapper")]
    assert "Depth" not in found[0][2]
    assert problems(bob_in_a, workspace, **asked, model=depth.digest)[0][1] == "unknown_model"
    with organization_scope(workspace.organization_id):
        kinds = {each["id"]: each["drawn"] for each in kind_choices()}
    assert (kinds["canny"], kinds["depth"], kinds["openpose"]) == ("here", "", "agent")


def test_a_map_is_a_job_of_its_own(
    bob_in_a: Actor,
    workspace: Workspace,
    depth: ModelVersion,
    pose: ModelVersion,
    picture: Artifact,
) -> None:
    with organization_scope(workspace.organization_id):
        job = submit_job(
            actor=bob_in_a,
            workspace=workspace,
            raw={"map_kind": "openpose", "image": picture.sha256, "width": 256, "height": 192},
        ).job
        recipe = open_recipe(job)
    assert job.model_version == pose
    assert (job.width, job.height, job.count) == (256, 192, 1)
    assert undrawn_name(recipe) == "Open pose map"
    assert job.cost_seconds > 0
    with system_scope():
        kept = list(JobInput.objects.filter(job=job).values_list("role", "artifact_id"))
    assert kept == [(InputRole.IMAGE.value, picture.pk)]


def test_what_was_guided_is_made_again_by_the_same_network(
    bob_in_a: Actor,
    workspace: Workspace,
    net: ModelVersion,
    depth: ModelVersion,
    picture: Artifact,
    tmp_path: Path,
    agent: AgentHandle,
) -> None:
    output = factories.make_output(bob_in_a, workspace, agent.row, controls=[use(net, picture)])
    registered(tmp_path / "newer", Architecture.DEPTH_ANYTHING, "A newer one")
    with organization_scope(workspace.organization_id):
        (again,) = open_recipe(rerun_output(output=output, actor=bob_in_a).job).controls
        assert again.mapper == depth.digest
        fresh = factories.make_job(bob_in_a, workspace, controls=[use(net, picture)])
        assert open_recipe(fresh).controls[0].mapper != depth.digest


@pytest.mark.usefixtures("depth")
def test_the_room_begins_a_map_and_waits_for_it(
    client: Client, bob: User, workspace: Workspace, picture: Artifact, agent: AgentHandle
) -> None:
    client.force_login(bob)
    asked = {"kind": "depth", "image": picture.sha256, "width": "128", "height": "64"}
    answer = client.post(f"/w/{workspace.pk}/maps", asked)
    assert answer.status_code == 202
    state = answer.json()["state_url"]
    with system_scope():
        job = Job.objects.get()
    waiting = client.get(state)
    assert waiting.json() == {"is_over": False, "start_url": "", "message": ""}
    assert waiting["Cache-Control"] == "no-store"
    # Once it is made it becomes a picture that jobs can use
    with system_scope():
        attempt = factories.make_attempt(job, agent.row)
    factories.run_attempt(attempt, agent.row)
    start = client.get(state).json()["start_url"]
    added = client.post(start)
    assert added.status_code == 201
    assert len(added.json()["sha256"]) == 64
    # If it fails, that is said
    state = client.post(f"/w/{workspace.pk}/maps", asked).json()["state_url"]
    with system_scope():
        unmade = Job.objects.exclude(pk=job.pk)
        unmade.update(status="failed", error_code="model.corrupt")
    over = client.get(state).json()
    assert (over["is_over"], over["start_url"]) == (True, "")
    assert over["message"].endswith(".")


@pytest.mark.usefixtures("depth")
def test_what_is_wrong_with_a_map_is_said_and_nothing_begun(
    client: Client, bob: User, workspace: Workspace, workspace_b: Workspace
) -> None:
    client.force_login(bob)
    foreign = factories.make_input(workspace_b, factories.make_png("white"))
    asked = {"kind": "depth", "image": foreign.sha256, "width": "128", "height": "64"}
    answer = client.post(f"/w/{workspace.pk}/maps", asked, HTTP_ACCEPT="application/json")
    assert answer.status_code == 422
    assert "not in this workspace" in answer.content.decode()
    with system_scope():
        assert not Job.objects.exists()
