"""Variations, and drawing a picture again larger, asked of a picture that was made here."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from accounts.actors import Actor
from gpuagent.protocol.recipe_parsing import parse_recipe
from jobs.estimates import passes_of
from jobs.forecast import make_forecast
from jobs.models import Job, Output
from jobs.recipes import open_recipe
from jobs.services.claiming import claim_attempt
from jobs.services.outputs import rerun_output
from library.models import ModelVersion
from library.services.registration import Description, register_model
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import AgentHandle
from tests.jobs.calls import post, problem
from tests.upscalers import make_upscaler_folder
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


def newest_recipe() -> dict[str, object]:
    with system_scope():
        job = Job.objects.select_related("workspace").order_by("-pk")[0]
        return open_recipe(job).to_wire()


@pytest.fixture
def upscaler(tmp_path: Path, store_folder: Path) -> ModelVersion:
    with system_scope():
        folder = make_upscaler_folder(tmp_path / "upscaler")
        return register_model(
            folder, Description(name="Sharp", licence="BSD"), organization_id=None
        )


def test_variations_have_the_recipe_and_another_noise(bob_api: Client, output: Output) -> None:
    before = newest_recipe()
    made = post(bob_api, f"/api/v1/outputs/{output.pk}/variations", {"count": 3, "seed": 9})
    assert made.status_code == 201
    assert newest_recipe() == {
        **before,
        "num_images_per_prompt": 3,
        "variation_seed": 9,
        "variation_strength": 0.2,
    }


def test_a_variation_runs_again_as_it_was(
    bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    job = factories.make_job(
        bob_in_a, workspace, seed=5, variation_strength=0.3, num_images_per_prompt=3
    )
    outputs = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    with system_scope():
        recipe = open_recipe(job)
        assert [output.seed for output in outputs] == [5, 5, 5]
        again = open_recipe(rerun_output(output=outputs[2], actor=bob_in_a).job)
    assert again.variation_seed == (recipe.variation_seed + 2) % 2**32
    assert (again.seed, again.variation_strength) == (5, 0.3)
    assert again == recipe.only(2)


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"count": 17}, "num_images_per_prompt", "out_of_range"),
        ({"strength": 2}, "variation_strength", "out_of_range"),
        ({"strength": 0}, "variation_strength", "no_variation"),
        ({"seed": "x"}, "variation_seed", "not_a_number"),
        ({"tier": "x"}, "tier", "unknown_tier"),
    ],
)
def test_what_cannot_be_varied_so_is_told(
    bob_api: Client, output: Output, body: dict[str, object], field: str, code: str
) -> None:
    refused = post(bob_api, f"/api/v1/outputs/{output.pk}/variations", body)
    [told] = problem(refused)["errors"]
    assert (told["field"], told["code"]) == (field, code)


def test_the_viewer_makes_variations_and_draws_larger(
    bobs: Client, room: str, output: Output
) -> None:
    page = text_of(bobs.get(f"{room}/outputs/{output.pk}"))
    assert 'data-action="vary"' in page
    assert 'data-refine="0.3"' in page
    made = bobs.post(f"{room}/outputs/{output.pk}/variations", {"strength": "0.5"})
    assert text_of(made).count("<job-tile") == 4
    made = bobs.post(f"{room}/outputs/{output.pk}/upscale", {"scale": "2", "refine": "0.3"})
    assert text_of(made).count("<job-tile") == 1
    assert newest_recipe()["strength"] == 0


def test_a_picture_is_drawn_again_larger_by_its_own_model(
    bob_api: Client, output: Output, upscaler: ModelVersion
) -> None:
    before = newest_recipe()
    body = {"scale": 4, "refine": 0.25, "model": upscaler.digest}
    made = post(bob_api, f"/api/v1/outputs/{output.pk}/upscale", body)
    assert made.status_code == 201
    recipe = newest_recipe()
    assert recipe["model"] == before["model"]
    assert recipe["prompt"] == before["prompt"]
    assert (recipe["width"], recipe["height"]) == (64, 64)
    assert (recipe["hires_scale"], recipe["hires_strength"]) == (4.0, 0.25)
    assert recipe["hires_upscaler"] == upscaler.digest
    assert recipe["hires_tile"] == 192, "once and a half the model's side"
    with system_scope():
        job = Job.objects.order_by("-pk")[0]
        assert (job.width, job.height) == (256, 256)


def test_a_control_costs_in_both_drawings() -> None:
    use = {"kind": "tile", "model": "b" * 64}
    one = {"model": "a" * 64, "prompt": "x", "image": "c" * 64, "strength": 0, "hires_scale": 2}
    plain, led = (parse_recipe({**one, "controls": uses}) for uses in ([], [use]))
    assert passes_of(led) > 1.2 * passes_of(plain)


def test_the_agent_is_handed_the_upscaler_and_never_a_foreign_one(
    bob_in_a: Actor,
    workspace: Workspace,
    agent: AgentHandle,
    upscaler: ModelVersion,
    charlie_in_b: Actor,
    workspace_b: Workspace,
) -> None:
    job = factories.make_job(bob_in_a, workspace, hires_scale=2, hires_upscaler=upscaler.digest)
    attempt = factories.make_attempt(job, agent.row)
    with system_scope():
        told = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id)
    assert [ref.digest for ref in told.adapters] == [upscaler.digest]


def test_an_upscaler_that_is_none_is_told(
    bob_api: Client, workspace: Workspace, model_version: ModelVersion
) -> None:
    for digest in ("b" * 64, model_version.digest):
        body = {"prompt": "x", "hires_scale": 2, "hires_upscaler": digest}
        [told] = problem(post(bob_api, "/api/v1/jobs", body))["errors"]
        assert (told["field"], told["code"]) == ("hires_upscaler", "unknown_upscaler")


def test_drawing_larger_costs_what_it_takes(bob_in_a: Actor, workspace: Workspace) -> None:
    plain = {"prompt": "x", "width": 1024, "height": 1024, "num_inference_steps": 150}
    with organization_scope(workspace.organization_id):
        costs = [
            make_forecast(actor=bob_in_a, workspace=workspace, raw={**plain, **more}).gpu_seconds
            for more in (
                {"guidance_end": 0.5},
                {},
                {"hires_scale": 2},
                {"hires_scale": 4},
                {"hires_scale": 4, "hires_strength": 0.9},
            )
        ]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
    job = factories.make_job(bob_in_a, workspace, hires_scale=4, hires_tile=192)
    whole = factories.make_job(bob_in_a, workspace, hires_scale=4, hires_tile=0)
    assert job.memory_bytes < whole.memory_bytes
    with system_scope():
        assert passes_of(open_recipe(job)) > passes_of(open_recipe(whole)), "overlaps"


def test_what_fits_nowhere_says_what_would(
    bob_api: Client, workspace: Workspace, agent: AgentHandle
) -> None:
    body = {"prompt": "x", "width": 1024, "height": 1024, "hires_scale": 4, "hires_tile": 0}
    [told] = problem(post(bob_api, "/api/v1/jobs", body))["errors"]
    assert (told["field"], told["code"]) == ("hires_tile", "does_not_fit")
    assert "In tiles of" in told["message"]


@pytest.mark.usefixtures("agent", "workspace")
def test_what_fits_nowhere_says_which_tiles_would(bob_api: Client) -> None:
    asked = {"prompt": "a mug", "width": 1024, "height": 1024, "hires_scale": 4}
    [told] = problem(post(bob_api, "/api/v1/jobs", {**asked, "hires_tile": 2048}))["errors"]
    tile = told["limit"]
    assert told["message"].endswith(f"In tiles of {tile} pixels it would fit.")
    assert post(bob_api, "/api/v1/jobs", {**asked, "hires_tile": tile}).status_code == 201
    larger = post(bob_api, "/api/v1/jobs", {**asked, "hires_tile": tile + 64})
    assert problem(larger)["errors"][0]["code"] == "does_not_fit"
    # Where the first picture alone is too large, no tile helps
    large = {"prompt": "a mug", "width": 2048, "height": 2048, "hires_scale": 1.25}
    [told] = problem(post(bob_api, "/api/v1/jobs", {**large, "hires_tile": 64}))["errors"]
    assert told["message"].endswith("Make the first picture smaller, or enlarge it less.")
