"""Backgrounds removed: by recipe, by API and by button; what is refused; made again; walls."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from PIL import Image

from accounts.actors import Actor
from accounts.models import Organization, User
from jobs.drawer import queue_context
from jobs.forecast import make_forecast
from jobs.models import Agent, Job, JobInput, Output
from jobs.recipes import open_manifest, open_recipe
from jobs.services.cutting import cut_output
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from jobs.watermark import make_anew
from library.models import ModelVersion
from library.services.registration import Description, register_model
from studio.core.errors import ForbiddenError, InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.answers import text_of
from tests.cutters import make_cutter_folder
from tests.factories import PROMPT, AgentHandle
from tests.jobs.calls import post, problem
from tests.upscalers import make_upscaler_folder
from workspaces.models import Artifact, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]
SCRIPT = {"HX-Request": "true"}


def register_cutter(folder: Path) -> ModelVersion:
    """Public, registered by the path that every model takes."""
    with system_scope():
        made = make_cutter_folder(folder)
        return register_model(made, Description(name="House cutout"), organization_id=None)


@pytest.fixture
def cutter(tmp_path: Path) -> ModelVersion:
    return register_cutter(tmp_path / "cutter")


@pytest.fixture
def picture(workspace: Workspace) -> Artifact:
    return factories.make_input(workspace, factories.make_png("teal", size=(96, 40)), size=(96, 40))


def submit(actor: Actor, workspace: Workspace, **raw: object) -> Job:
    with organization_scope(workspace.organization_id):
        return submit_job(actor=actor, workspace=workspace, raw=raw).job


def problems(actor: Actor, workspace: Workspace, **raw: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        submit(actor, workspace, **raw)
    assert all(problem.message.endswith(".") for problem in caught.value.problems)
    return [(problem.field, problem.code) for problem in caught.value.problems]


@pytest.mark.parametrize("said", [True, "true", 1, "1", "on"])
def test_it_needs_a_picture_alone(
    bob_in_a: Actor,
    workspace: Workspace,
    cutter: ModelVersion,
    picture: Artifact,
    said: object,
) -> None:
    job = submit(bob_in_a, workspace, image=picture.sha256, cutout=said)
    with organization_scope(workspace.organization_id):
        assert open_recipe(job).to_wire() == {
            "version": 1,
            "model": cutter.digest,
            "prompt": "",
            "image": picture.sha256,
            "cutout": True,
            "width": 96,
            "height": 40,
        }
        assert (job.width, job.height, job.count) == (96, 40, 1)
        assert job.model_version == cutter
        assert JobInput.objects.get(job=job).artifact == picture


@pytest.mark.parametrize("said", [None, "", False, "false", 0, "0"])
def test_who_does_not_ask_for_it_draws(
    bob_in_a: Actor, workspace: Workspace, model_version: ModelVersion, said: object
) -> None:
    plain, said_so = (
        submit(bob_in_a, workspace, prompt=PROMPT, seed=5, **more)
        for more in ({}, {"cutout": said})
    )
    assert plain.model_version == said_so.model_version == model_version
    with organization_scope(workspace.organization_id):
        assert open_recipe(said_so).to_wire() == open_recipe(plain).to_wire()
        assert "cutout" not in open_recipe(plain).to_wire()


def test_settings_of_drawing_and_a_wrong_size_change_nothing(
    bob_in_a: Actor, workspace: Workspace, cutter: ModelVersion, picture: Artifact
) -> None:
    plain: dict[str, object] = {"image": picture.sha256, "cutout": True, "cutout_edge": 3}
    more = {"width": 64, "height": 64, "seed": 5, "num_images_per_prompt": 4, "strength": 0.3}
    jobs = [submit(bob_in_a, workspace, **raw) for raw in (plain, {**plain, **more})]
    with organization_scope(workspace.organization_id):
        first, second = (open_recipe(job) for job in jobs)
    assert first == second
    assert first.to_wire()["cutout_edge"] == 3


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"cutout": True}, [("image", "needs_image")]),
        ({"cutout": "maybe", "image": "IMAGE"}, [("cutout", "not_true_or_false")]),
        ({"cutout": [1], "image": "IMAGE"}, [("cutout", "not_true_or_false")]),
        ({"cutout": True, "image": "0" * 64}, [("image", "unknown_image")]),
        ({"cutout": True, "image": "IMAGE", "mask": "0" * 64}, [("mask", "not_with_cutout")]),
        (
            {"cutout": True, "image": "IMAGE", "outpaint_top": 8},
            [("outpaint_top", "not_with_cutout")],
        ),
        ({"cutout": True, "image": "IMAGE", "scale": 2}, [("cutout", "not_with_scale")]),
        (
            {"cutout": True, "image": "IMAGE", "cutout_edge": 65},
            [("cutout_edge", "out_of_range")],
        ),
        (
            {"cutout": True, "image": "IMAGE", "cutout_result": "sky"},
            [("cutout_result", "unknown_result")],
        ),
        ({"cutout": True, "image": "IMAGE", "model": "HOUSE"}, [("model", "not_a_cutter")]),
        ({"cutout": True, "image": "IMAGE", "model": "UPSCALER"}, [("model", "not_a_cutter")]),
        ({"scale": 2, "image": "IMAGE", "model": "CUTTER"}, [("model", "not_an_upscaler")]),
        ({"prompt": PROMPT, "model": "CUTTER"}, [("model", "only_cuts_out")]),
    ],
)
def test_what_cannot_be_cut_is_told(
    bob_in_a: Actor,
    workspace: Workspace,
    model_version: ModelVersion,
    cutter: ModelVersion,
    picture: Artifact,
    tmp_path: Path,
    raw: dict[str, object],
    expected: list[tuple[str, str]],
) -> None:
    with system_scope():
        folder = make_upscaler_folder(tmp_path / "upscaler")
        upscaler = register_model(folder, Description(name="Up"), organization_id=None)
    named = {
        "IMAGE": picture.sha256,
        "HOUSE": model_version.digest,
        "CUTTER": cutter.digest,
        "UPSCALER": upscaler.digest,
    }
    values = {
        name: named.get(value, value) if isinstance(value, str) else value
        for name, value in raw.items()
    }
    assert problems(bob_in_a, workspace, **values) == expected
    with system_scope():
        assert not Job.objects.exists()


def test_without_a_remover_it_is_said(
    bob_in_a: Actor, workspace: Workspace, picture: Artifact
) -> None:
    found = problems(bob_in_a, workspace, image=picture.sha256, cutout=True)
    assert found == [("model", "unknown_model")]


def test_what_no_agent_has_memory_for_is_refused(
    bob_in_a: Actor, workspace: Workspace, cutter: ModelVersion, picture: Artifact
) -> None:
    factories.make_agent(memory_bytes=700 * 1024**2)
    with system_scope():
        Artifact.objects.filter(pk=picture.pk).update(width=8_000, height=4_000)
    found = problems(bob_in_a, workspace, image=picture.sha256, cutout=True)
    assert found == [("image", "does_not_fit")]
    with system_scope():
        Agent.objects.update(memory_bytes=8 * 1024**3)
    job = submit(bob_in_a, workspace, image=picture.sha256, cutout=True)
    assert 700 * 1024**2 < job.memory_bytes < 8 * 1024**3


def test_the_cost_grows_with_the_picture_but_not_from_nothing(
    bob_in_a: Actor, workspace: Workspace, cutter: ModelVersion, agent: AgentHandle
) -> None:
    def seconds(side: int) -> float:
        size = (side, side)
        image = factories.make_input(workspace, factories.make_png("teal", size=size), size=size)
        job = submit(bob_in_a, workspace, image=image.sha256, cutout=True)
        with organization_scope(workspace.organization_id):
            raw = {"image": image.sha256, "cutout": True}
            said = make_forecast(actor=bob_in_a, workspace=workspace, raw=raw)
        assert said.gpu_seconds == pytest.approx(job.cost_seconds)
        return job.cost_seconds

    assert seconds(64) < seconds(512) < 4 * seconds(64)


def test_a_picture_made_here_is_cut_out_by_the_api(
    bob_api: Client, output: Output, cutter: ModelVersion
) -> None:
    said = {"cutout_edge": 2, "cutout_result": "mask"}
    answer = post(bob_api, f"/api/v1/outputs/{output.pk}/cutout", said)
    body = answer.json()
    assert answer.status_code == 201
    size = (output.picture.width, output.picture.height)
    assert (body["recipe"]["width"], body["recipe"]["height"]) == size
    assert body["recipe"] | said == body["recipe"]
    with system_scope():
        # It is found by the words of the picture it was made from.
        made = Job.objects.get(pk=body["id"])
        assert open_recipe(made).prompt == open_recipe(output.job).prompt
        assert made.search_terms == output.job.search_terms


def test_another_edge_or_result_is_a_problem(
    bob_api: Client, output: Output, cutter: ModelVersion
) -> None:
    for said in ({"cutout_edge": -1}, {"cutout_edge": "x"}, {"cutout_result": [2]}):
        answer = post(bob_api, f"/api/v1/outputs/{output.pk}/cutout", said)
        (found,) = problem(answer)["errors"]
        assert (answer.status_code, [found["field"]]) == (422, list(said))


def test_the_same_key_cuts_once(bob_api: Client, output: Output, cutter: ModelVersion) -> None:
    address = f"/api/v1/outputs/{output.pk}/cutout"
    first, second = (
        post(bob_api, address, {}, **{"Idempotency-Key": "double-click"}) for _press in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


def test_nobody_else_can_cut_it(
    output: Output,
    cutter: ModelVersion,
    victor_in_a: Actor,
    charlie: User,
    organization_b: Organization,
    api_of: Callable[[User, Organization], Client],
) -> None:
    with organization_scope(output.organization_id), pytest.raises(ForbiddenError):
        cut_output(output=output, actor=victor_in_a)
    answer = post(api_of(charlie, organization_b), f"/api/v1/outputs/{output.pk}/cutout", {})
    assert answer.status_code == 404
    with system_scope():
        assert Job.objects.count() == 1


def test_pictures_and_removers_of_others_are_unknown(
    bob_in_a: Actor, workspace: Workspace, workspace_b: Workspace, picture: Artifact, tmp_path: Path
) -> None:
    folder = make_cutter_folder(tmp_path / "theirs")
    with system_scope():
        theirs = register_model(
            folder, Description(name="Theirs"), organization_id=workspace_b.organization_id
        )
    for model in (None, theirs.digest):
        found = problems(bob_in_a, workspace, image=picture.sha256, cutout=True, model=model)
        assert found == [("model", "unknown_model")]
    register_cutter(tmp_path / "ours")
    foreign = factories.make_input(workspace_b, factories.make_png("navy"))
    found = problems(bob_in_a, workspace, image=foreign.sha256, cutout=True)
    assert found == [("image", "unknown_image")]


@pytest.fixture
def made(
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    cutter: ModelVersion,
    picture: Artifact,
) -> Output:
    """A picture without its background."""
    return factories.make_output(
        bob_in_a, workspace, agent.row, image=picture.sha256, cutout=True, prompt="a mug"
    )


def test_it_is_made_again_from_its_manifest(
    bob_in_a: Actor, workspace: Workspace, made: Output
) -> None:
    with organization_scope(workspace.organization_id):
        recipe = open_manifest(made)["recipe"]
        assert isinstance(recipe, dict)
        assert (recipe["cutout"], recipe["width"], recipe["height"]) == (True, 96, 40)
        assert "sampler" not in recipe
        again = rerun_output(output=made, actor=bob_in_a).job
        assert open_recipe(again) == open_recipe(made.job)


def test_the_viewer_offers_it_and_shows_what_was_cut(
    bob: User,
    client_of: Callable[[User], Client],
    workspace: Workspace,
    output: Output,
    made: Output,
) -> None:
    client, address = client_of(bob), f"/w/{workspace.pk}/outputs/{output.pk}"
    page = text_of(client.get(address, headers=SCRIPT))
    assert "Remove background" in page
    assert f'data-cutout="{address}/cutout"' in page
    assert "data-see-through" not in page

    answer = client.post(f"{address}/cutout", {"cutout_result": "mask"}, headers=SCRIPT)
    assert answer.status_code == 201
    assert "<job-tile" in text_of(answer)
    with system_scope():
        newest = Job.objects.order_by("-id")[0]
        assert open_recipe(newest).to_wire()["cutout_result"] == "mask"

    shown = text_of(client.get(f"/w/{workspace.pk}/outputs/{made.pk}", headers=SCRIPT))
    assert "<dt>Background</dt><dd>removed</dd>" in shown
    assert 'class="viewer__picture" data-see-through' in shown
    for gone in ("<dt>Sampler</dt>", "Use parameters", 'data-action="cutout"'):
        assert gone not in shown
    gallery = text_of(client.get(f"/w/{workspace.pk}/gallery", headers=SCRIPT))
    assert gallery.count("data-see-through") == 1


def test_without_a_remover_there_are_no_buttons(
    bob: User,
    client_of: Callable[[User], Client],
    workspace: Workspace,
    output: Output,
    picture: Artifact,
    tmp_path: Path,
) -> None:
    client, room = client_of(bob), f"/w/{workspace.pk}/"
    assert "Remove background" not in text_of(client.get(f"{room}outputs/{output.pk}"))
    assert "Remove background" not in text_of(client.get(room))
    register_cutter(tmp_path / "cutter")
    page = text_of(client.get(room))
    assert 'data-cutout="picture"' in page
    assert "House cutout" not in page  # nothing to draw with
    values = {"image": picture.sha256, "cutout": "true", "cutout_result": "picture"}
    answer = client.post(f"{room}jobs", values, headers=SCRIPT)
    assert answer.status_code == 201
    with system_scope():
        assert open_recipe(Job.objects.exclude(pk=output.job_id).get()).cutout


def test_who_may_not_submit_sees_no_button(
    victor: User, client_of: Callable[[User], Client], workspace: Workspace, made: Output
) -> None:
    page = text_of(client_of(victor).get(f"/w/{workspace.pk}/outputs/{made.pk}", headers=SCRIPT))
    assert 'data-action="cutout"' not in page


def test_the_queue_says_what_it_is(
    bob_in_a: Actor, workspace: Workspace, cutter: ModelVersion, picture: Artifact
) -> None:
    submit(bob_in_a, workspace, image=picture.sha256, cutout=True)
    with organization_scope(workspace.organization_id):
        assert "Remove background" in str(queue_context(workspace, bob_in_a))


def test_shared_with_a_watermark_it_stays_transparent() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (300, 200), (0, 0, 0, 0)).save(buffer, "PNG")
    with Image.open(io.BytesIO(make_anew(buffer.getvalue(), watermark="Draft"))) as shared:
        alpha = shared.getchannel("A").tobytes()
        assert (min(alpha), max(alpha) > 60) == (0, True)
    with Image.open(io.BytesIO(make_anew(buffer.getvalue()))) as shared:
        assert set(shared.getchannel("A").tobytes()) == {0}


def test_models_say_what_they_are_for(bob_api: Client, cutter: ModelVersion) -> None:
    models = bob_api.get("/api/v1/models").json()
    assert [(model["name"], model["kind"]) for model in models] == [
        ("House", "checkpoint"),
        ("House cutout", "cutter"),
    ]
