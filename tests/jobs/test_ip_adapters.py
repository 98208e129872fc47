"""IP-Adapters in jobs: named among the references, walled off, counted, sent to agents, shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from django.test import Client

from accounts.actors import Actor
from accounts.models import User
from jobs.models import JobInput
from jobs.services.claiming import claim_attempt
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from library.models import ModelAsset, ModelVersion
from library.services.ip_adapters import register_ip_adapter
from library.services.registration import Description
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from tests.gpuagent.tiny_models import save_ip_adapter
from tests.jobs.calls import post
from workspaces.models import Artifact, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "workspace")]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    save_ip_adapter(folder, UNet2DConditionModel.from_pretrained(factories.HOUSE / "unet"))
    return folder / "ip_adapter.safetensors"


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


@pytest.fixture
def likeness(house: ModelVersion, published: Path) -> ModelVersion:
    with system_scope():
        return register_ip_adapter(published, Description(name="Likeness"), organization_id=None)


@pytest.fixture
def picture(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, factories.make_png("navy"))


def shown(version: ModelVersion, picture: Artifact, **more: object) -> dict[str, object]:
    return {"kind": "ip_adapter", "model": version.digest, "image": picture.sha256, **more}


def problems(
    actor: Actor, workspace: Workspace, *references: object, **more: object
) -> list[tuple[str, str, str]]:
    raw = {"prompt": "a mug", "references": list(references), **more}
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=actor, workspace=workspace, raw=raw)
    return [(each.field, each.code, each.message) for each in caught.value.problems]


def test_a_job_keeps_its_pictures_and_counts_the_network(
    bob_in_a: Actor, workspace: Workspace, likeness: ModelVersion, picture: Artifact
) -> None:
    plain = factories.make_job(bob_in_a, workspace)
    uses = [shown(likeness, picture), shown(likeness, picture, weight=0.5, end=0.5)]
    job = factories.make_job(bob_in_a, workspace, references=uses)
    own = factories.make_job(bob_in_a, workspace, references=[{"image": picture.sha256}])
    with system_scope():
        kept = dict(JobInput.objects.filter(job=job).values_list("role", "artifact_id"))
    assert kept == {"reference_1": picture.pk, "reference_2": picture.pk}
    assert job.memory_bytes - plain.memory_bytes >= likeness.weights_bytes
    assert plain.cost_seconds < job.cost_seconds < own.cost_seconds


def test_what_is_foreign_or_another_kind_does_not_exist(
    bob_in_a: Actor,
    workspace: Workspace,
    workspace_b: Workspace,
    house: ModelVersion,
    likeness: ModelVersion,
    picture: Artifact,
) -> None:
    for version in (house, ModelVersion(digest="f" * 64)):
        found = problems(bob_in_a, workspace, shown(version, picture))
        assert [each[:2] for each in found] == [("references", "unknown_ip_adapter")]
    edges = {"kind": "canny", "model": likeness.digest, "map": picture.sha256}
    found = problems(bob_in_a, workspace, shown(likeness, picture), controls=[edges])
    assert [each[:2] for each in found] == [("controls", "unknown_controlnet")]
    foreign = factories.make_input(workspace_b, factories.make_png("white"))
    found = problems(bob_in_a, workspace, shown(likeness, foreign))
    assert [each[:2] for each in found] == [("references", "unknown_image")]
    with system_scope():
        theirs = ModelAsset.objects.filter(pk=likeness.asset_id)
        theirs.update(organization_id=workspace_b.organization_id)
    found = problems(bob_in_a, workspace, shown(likeness, picture))
    assert [each[:2] for each in found] == [("references", "unknown_ip_adapter")]
    assert "Likeness" not in found[0][2]


def test_one_that_does_not_fit_is_refused_by_name(
    bob_in_a: Actor, workspace: Workspace, likeness: ModelVersion, picture: Artifact, tmp_path: Path
) -> None:
    tiny = factories.make_model_version(
        folder=factories.make_tiny_folder(tmp_path / "tiny"), name="Tiny"
    )
    ((field, code, message),) = problems(
        bob_in_a, workspace, shown(likeness, picture), model=tiny.digest
    )
    assert (field, code) == ("references", "unfit")
    assert message.startswith("Likeness does not fit Tiny: ")


def test_the_agent_is_handed_it_once_with_its_encoder(
    bob_in_a: Actor,
    workspace: Workspace,
    likeness: ModelVersion,
    picture: Artifact,
    agent: AgentHandle,
) -> None:
    job = factories.make_job(bob_in_a, workspace, references=[shown(likeness, picture)] * 2)
    with system_scope():
        attempt = factories.make_attempt(job, agent.row)
        told = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
    assert [(ref.name, ref.kind.value) for ref in told.adapters] == [("Likeness", "ip_adapter")]
    assert {file.path for file in told.adapters[0].files} == {
        "ip_adapter.safetensors",
        "image_encoder/config.json",
        "image_encoder/model.safetensors",
    }


def test_run_again_and_the_viewer_name_it(
    bob_in_a: Actor,
    bob: User,
    client_of: Callable[[User], Client],
    workspace: Workspace,
    likeness: ModelVersion,
    picture: Artifact,
    agent: AgentHandle,
) -> None:
    uses = [shown(likeness, picture, weight=0.7, end=0.5)]
    output = factories.make_output(bob_in_a, workspace, agent.row, references=uses)
    page = client_of(bob).get(f"/w/{workspace.pk}/outputs/{output.pk}").content.decode()
    assert "<dt>IP-Adapter</dt>" in page
    assert "<dt>Embedding</dt>" not in page
    assert picture.sha256[:12] in page
    with organization_scope(workspace.organization_id):
        again = rerun_output(output=output, actor=bob_in_a).job
        assert factories.stored_recipe(again)["references"] == [{**uses[0], "start": 0}]
        with system_scope():
            ModelAsset.objects.filter(pk=likeness.asset_id).delete()
        with pytest.raises(InvalidInputError) as caught:
            rerun_output(output=output, actor=bob_in_a)
    assert [(p.field, p.code) for p in caught.value.problems] == [
        ("references", "unknown_ip_adapter")
    ]


def test_the_api_and_the_room_offer_it_and_take_it(
    bob_api: Client,
    bob: User,
    client_of: Callable[[User], Client],
    workspace: Workspace,
    house: ModelVersion,
    likeness: ModelVersion,
    picture: Artifact,
) -> None:
    (listed,) = bob_api.get("/api/v1/adapters").json()
    assert (listed["kind"], listed["models"]) == ("ip_adapter", [house.digest])
    use = shown(likeness, picture)
    made = post(bob_api, "/api/v1/jobs", {"prompt": "a mug", "references": [use]})
    assert made.status_code == 201
    assert made.json()["recipe"]["references"] == [{**use, "weight": 1, "start": 0, "end": 1}]
    page = client_of(bob).get(f"/w/{workspace.pk}/").content.decode()
    assert f'<option value="{likeness.digest}" data-models="{house.digest}"' in page
