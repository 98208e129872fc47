"""Upscaling: asked for by recipe, by API and by button; what is refused; made again; walls."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from PIL import Image

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs.forecast import make_forecast
from jobs.models import Agent, Job, JobInput, Output
from jobs.recipes import open_manifest, open_recipe
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from jobs.services.upscaling import upscale_output
from library.models import ModelVersion
from library.services.registration import Description, register_model
from studio.core.errors import ForbiddenError, InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import PROMPT, AgentHandle
from tests.jobs.calls import post, problem
from tests.upscalers import LARGE, make_upscaler_folder
from workspaces.models import Artifact, Workspace
from workspaces.services.artifacts import read_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]
SCRIPT = {"HX-Request": "true"}


@pytest.fixture
def upscaler(tmp_path: Path) -> ModelVersion:
    """Public, registered by the path that every model takes."""
    folder = make_upscaler_folder(tmp_path / "upscaler")
    with system_scope():
        return register_model(folder, Description(name="Real-ESRGAN"), organization_id=None)


@pytest.fixture
def picture(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, factories.make_png("teal", size=(96, 40)), size=(96, 40))


def problems(actor: Actor, workspace: Workspace, **raw: object) -> list[tuple[str, str]]:
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=actor, workspace=workspace, raw=raw)
    assert all(problem.message.endswith(".") for problem in caught.value.problems)
    return [(problem.field, problem.code) for problem in caught.value.problems]


def test_an_upscale_needs_a_picture_and_a_scale_only(
    bob_in_a: Actor, workspace: Workspace, upscaler: ModelVersion, picture: Artifact
) -> None:
    with organization_scope(workspace.organization_id):
        raw = {"image": picture.sha256, "scale": "4"}
        job = submit_job(actor=bob_in_a, workspace=workspace, raw=raw).job
        recipe = open_recipe(job)
        assert recipe.to_wire() == {
            "version": 1,
            "model": upscaler.digest,
            "prompt": "",
            "image": picture.sha256,
            "scale": 4,
            "width": 384,
            "height": 160,
        }
        assert (job.width, job.height, job.count) == (384, 160, 1)
        assert job.model_version == upscaler
        assert JobInput.objects.get(job=job).artifact == picture


def test_settings_of_drawing_and_a_wrong_size_change_nothing(
    bob_in_a: Actor, workspace: Workspace, upscaler: ModelVersion, picture: Artifact
) -> None:
    with organization_scope(workspace.organization_id):
        plain = {"image": picture.sha256, "scale": 2}
        more = {"width": 64, "height": 64, "seed": 5, "num_images_per_prompt": 4, "strength": 0.3}
        recipes = [
            open_recipe(submit_job(actor=bob_in_a, workspace=workspace, raw=raw).job)
            for raw in (plain, {**plain, **more})
        ]
    assert recipes[0] == recipes[1]


@pytest.mark.usefixtures("upscaler")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"scale": 2}, [("image", "needs_image")]),
        ({"scale": 3, "image": "IMAGE"}, [("scale", "not_a_multiple")]),
        ({"scale": 8, "image": "IMAGE"}, [("scale", "out_of_range")]),
        ({"scale": "x", "image": "IMAGE"}, [("scale", "not_a_number")]),
        ({"scale": 2, "image": "0" * 64}, [("image", "unknown_image")]),
        ({"scale": 2, "image": "IMAGE", "mask": "0" * 64}, [("mask", "unknown_image")]),
        (
            {"scale": 2, "image": "IMAGE", "outpaint_top": 8},
            [("outpaint_top", "not_with_scale")],
        ),
        ({"scale": 2, "image": "IMAGE", "model": "HOUSE"}, [("model", "not_an_upscaler")]),
        ({"prompt": PROMPT, "model": "UPSCALER"}, [("model", "only_upscales")]),
    ],
)
def test_what_cannot_be_upscaled_is_told(
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    upscaler: ModelVersion,
    picture: Artifact,
    raw: dict[str, object],
    expected: list[tuple[str, str]],
) -> None:
    named: dict[object, object] = {
        "IMAGE": picture.sha256,
        "HOUSE": model_version.digest,
        "UPSCALER": upscaler.digest,
    }
    values = {name: named.get(value, value) for name, value in raw.items()}
    assert problems(bob_in_a, workspace, **values) == expected
    with system_scope():
        assert not Job.objects.exists()


def test_without_an_upscaler_it_is_said(
    bob_in_a: Actor, workspace: Workspace, picture: Artifact
) -> None:
    found = problems(bob_in_a, workspace, image=picture.sha256, scale=2)
    assert found == [("model", "unknown_model")]


def test_too_large_a_result_is_refused_with_what_would_do(
    bob_in_a: Actor, workspace: Workspace, upscaler: ModelVersion, picture: Artifact
) -> None:
    with system_scope():
        Artifact.objects.filter(pk=picture.pk).update(width=4_000, height=2_000)
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        raw = {"image": picture.sha256, "scale": 4}
        submit_job(actor=bob_in_a, workspace=workspace, raw=raw)
    (found,) = caught.value.problems
    assert (found.field, found.code) == ("scale", "result_too_large")
    assert "16000 × 8000" in found.message
    assert "×2" in found.message


def test_what_no_agent_has_memory_for_is_refused(
    bob_in_a: Actor, workspace: Workspace, upscaler: ModelVersion, picture: Artifact
) -> None:
    factories.make_agent(memory_bytes=500 * 1024**2)
    with system_scope():
        Artifact.objects.filter(pk=picture.pk).update(width=2_000, height=1_500)
    found = problems(bob_in_a, workspace, image=picture.sha256, scale=4)
    assert found == [("scale", "does_not_fit")]
    with system_scope():
        Agent.objects.update(memory_bytes=8 * 1024**3)
    with organization_scope(workspace.organization_id):
        raw = {"image": picture.sha256, "scale": 4}
        job = submit_job(actor=bob_in_a, workspace=workspace, raw=raw).job
    assert 500 * 1024**2 < job.memory_bytes < 8 * 1024**3


def test_the_cost_goes_by_the_starting_picture(
    bob_in_a: Actor, workspace: Workspace, upscaler: ModelVersion, agent: AgentHandle
) -> None:
    small = factories.make_input(workspace, factories.make_png("teal", size=(64, 64)))
    large = factories.make_input(
        workspace, factories.make_png("teal", size=(128, 128)), size=(128, 128)
    )
    with organization_scope(workspace.organization_id):

        def seconds(image: Artifact, scale: int) -> float:
            raw = {"image": image.sha256, "scale": scale}
            job = submit_job(actor=bob_in_a, workspace=workspace, raw=raw).job
            said = make_forecast(actor=bob_in_a, workspace=workspace, raw=raw)
            assert said.gpu_seconds == pytest.approx(job.cost_seconds)
            return job.cost_seconds

        assert seconds(large, 2) == pytest.approx(4 * seconds(small, 2))
        assert seconds(large, 4) == pytest.approx(seconds(large, 2))
        # 35 s a megapixel on a processor that nothing is known of yet.
        assert 0.3 < seconds(large, 4) < 1.2


def test_what_is_transparent_stays_so(
    bob_in_a: Actor,
    bobs: Client,
    bob_api: Client,
    workspace: Workspace,
    agent: AgentHandle,
    upscaler: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.BytesIO()
    cut = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    cut.paste((200, 30, 20, 255), (30, 30, 90, 90))
    cut.save(file, "PNG")
    monkeypatch.setattr(factories, "make_png", lambda _color: file.getvalue())
    job = factories.make_job(bob_in_a, workspace)
    [output] = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    answer = post(bob_api, f"/api/v1/outputs/{output.pk}/upscale", {"scale": 2})
    assert answer.status_code == 201
    with system_scope():
        inputs = JobInput.objects.filter(job_id=answer.json()["id"]).select_related("artifact")
        kept = {each.role: each.artifact for each in inputs}
        with Image.open(io.BytesIO(read_all(kept["mask"]))) as mask:
            missing = np.asarray(mask.convert("L"))
        assert answer.json()["recipe"]["mask"] == kept["mask"].sha256
        again = factories.make_attempt(Job.objects.get(pk=answer.json()["id"]), agent.row)
        [larger] = factories.run_attempt(again, agent.row)
    page = bobs.get(f"/w/{workspace.pk}/outputs/{larger.pk}").content.decode()
    assert "<dt>Transparency</dt>" in page
    assert "<dt>Soft edge</dt>" not in page
    assert (missing[30:90, 30:90] == 0).all()
    assert (missing == 255).sum() == 128 * 128 - 60 * 60


def test_a_picture_made_here_is_upscaled_by_the_api(
    bob_api: Client, output: Output, upscaler: ModelVersion
) -> None:
    answer = post(bob_api, f"/api/v1/outputs/{output.pk}/upscale", {"scale": 2})
    body = answer.json()
    assert answer.status_code == 201
    width, height = output.picture.width, output.picture.height
    assert (body["recipe"]["width"], body["recipe"]["height"]) == (2 * width, 2 * height)
    assert body["recipe"]["scale"] == 2
    with system_scope():
        # It is found by the words of the picture it was made from.
        made = Job.objects.get(pk=body["id"])
        assert open_recipe(made).prompt == open_recipe(output.job).prompt
        assert made.search_terms == output.job.search_terms


@pytest.mark.parametrize("scale", [None, 0, 1, 3, 16, "x", True, [2]])
def test_another_scale_is_a_problem(
    bob_api: Client, output: Output, upscaler: ModelVersion, scale: object
) -> None:
    answer = post(bob_api, f"/api/v1/outputs/{output.pk}/upscale", {"scale": scale})
    (found,) = problem(answer)["errors"]
    assert (answer.status_code, found["field"]) == (422, "scale")


def test_the_same_key_upscales_once(
    bob_api: Client, output: Output, upscaler: ModelVersion
) -> None:
    address = f"/api/v1/outputs/{output.pk}/upscale"
    first, second = (
        post(bob_api, address, {"scale": 2}, **{"Idempotency-Key": "double-click"})
        for _press in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


def test_nobody_else_can_upscale_it(
    output: Output,
    upscaler: ModelVersion,
    victor_in_a: Actor,
    charlie: User,
    organization_b: Organization,
    api_of: Callable[[User, Organization], Client],
) -> None:
    with organization_scope(output.organization_id), pytest.raises(ForbiddenError):
        upscale_output(output=output, actor=victor_in_a, scale=2)
    answer = post(
        api_of(charlie, organization_b), f"/api/v1/outputs/{output.pk}/upscale", {"scale": 2}
    )
    assert answer.status_code == 404
    with system_scope():
        assert Job.objects.count() == 1


def test_a_picture_of_another_workspace_is_unknown(
    bob_in_a: Actor, workspace: Workspace, workspace_b: Workspace, upscaler: ModelVersion
) -> None:
    foreign = factories.make_input(workspace_b, factories.make_png("navy"))
    found = problems(bob_in_a, workspace, image=foreign.sha256, scale=2)
    assert found == [("image", "unknown_image")]


def test_an_upscaler_of_another_organization_is_unknown(
    bob_in_a: Actor,
    workspace: Workspace,
    workspace_b: Workspace,
    picture: Artifact,
    tmp_path: Path,
) -> None:
    folder = make_upscaler_folder(tmp_path / "theirs")
    with system_scope():
        theirs = register_model(
            folder, Description(name="Theirs"), organization_id=workspace_b.organization_id
        )
    for model in (None, theirs.digest):
        found = problems(bob_in_a, workspace, image=picture.sha256, scale=2, model=model)
        assert found == [("model", "unknown_model")]


def test_it_is_made_again_from_its_manifest(
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    upscaler: ModelVersion,
    picture: Artifact,
) -> None:
    made = factories.make_output(
        bob_in_a, workspace, agent.row, image=picture.sha256, scale=2, prompt="a mug"
    )
    with organization_scope(workspace.organization_id):
        recipe = open_manifest(made)["recipe"]
        assert isinstance(recipe, dict)
        assert (recipe["scale"], recipe["width"], recipe["height"]) == (2, 192, 80)
        assert "sampler" not in recipe
        again = rerun_output(output=made, actor=bob_in_a).job
        assert open_recipe(again) == open_recipe(made.job)


def test_the_viewer_offers_it_and_shows_what_was_upscaled(
    bob: User,
    client_of: Callable[[User], Client],
    bob_in_a: Actor,
    workspace: Workspace,
    output: Output,
    agent: AgentHandle,
    picture: Artifact,
    tmp_path: Path,
) -> None:
    bob_client, address = client_of(bob), f"/w/{workspace.pk}/outputs/{output.pk}"
    assert 'data-action="upscale"' not in text_of(bob_client.get(address, headers=SCRIPT))
    with system_scope():
        folder = make_upscaler_folder(tmp_path / "upscaler")
        register_model(folder, Description(name="Real-ESRGAN"), organization_id=None)
    page = text_of(bob_client.get(address, headers=SCRIPT))
    assert page.count('data-action="upscale"') == 2
    assert f'data-upscale="{address}/upscale"' in page

    answer = bob_client.post(f"{address}/upscale", {"scale": "2"}, headers=SCRIPT)
    assert answer.status_code == 201
    assert "<job-tile" in text_of(answer)

    made = factories.make_output(
        bob_in_a, workspace, agent.row, image=picture.sha256, scale=4, prompt="a mug"
    )
    shown = text_of(bob_client.get(f"/w/{workspace.pk}/outputs/{made.pk}", headers=SCRIPT))
    assert "<dt>Upscaled</dt>" in shown
    assert "<dt>Sampler</dt>" not in shown
    assert "Use parameters" not in shown


def test_of_several_upscalers_one_is_chosen_the_quickest_stands_first(
    bob: User,
    client_of: Callable[[User], Client],
    workspace: Workspace,
    output: Output,
    upscaler: ModelVersion,
    tmp_path: Path,
) -> None:
    client, address = client_of(bob), f"/w/{workspace.pk}/outputs/{output.pk}"
    assert 'data-part="upscaler"' not in text_of(client.get(address, headers=SCRIPT))
    with system_scope():
        folder = make_upscaler_folder(tmp_path / "large", LARGE)
        large = register_model(folder, Description(name="A large one"), organization_id=None)
    for page in (address, f"/w/{workspace.pk}/"):
        shown = text_of(client.get(page, headers=SCRIPT if page == address else {}))
        choice = shown.split('data-part="upscaler"')[1]
        assert choice.index(upscaler.digest) < choice.index(large.digest)
    for model in ("", large.digest):
        client.post(f"{address}/upscale", {"scale": "2", "model": model}, headers=SCRIPT)
    with system_scope():
        made = Job.objects.exclude(pk=output.job_id)
        assert {job.model_version for job in made} == {upscaler, large}


def test_the_room_offers_it_for_a_starting_picture(
    bob: User,
    client_of: Callable[[User], Client],
    workspace: Workspace,
    picture: Artifact,
    tmp_path: Path,
) -> None:
    client, room = client_of(bob), f"/w/{workspace.pk}/"
    assert "<upscale-row" not in text_of(client.get(room))
    with system_scope():
        folder = make_upscaler_folder(tmp_path / "upscaler")
        register_model(folder, Description(name="Real-ESRGAN"), organization_id=None)
    page = text_of(client.get(room))
    assert "<upscale-row" in page
    assert 'data-name="Real-ESRGAN"' not in page  # nothing to draw with
    values = {"image": picture.sha256, "scale": "2"}
    answer = client.post(f"{room}jobs", values, headers=SCRIPT)
    assert answer.status_code == 201
    with system_scope():
        assert open_recipe(Job.objects.get()).scale == 2


def test_models_say_what_they_are_for(bob_api: Client, upscaler: ModelVersion) -> None:
    models = bob_api.get("/api/v1/models").json()
    assert [(model["name"], model["kind"]) for model in models] == [
        ("House", "checkpoint"),
        ("Real-ESRGAN", "upscaler"),
    ]
