"""Jobs on models of other families: what is asked for them, refused, and made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client

from accounts.actors import Actor
from gpuagent.cache.files import FileCache
from gpuagent.cache.places import Places
from gpuagent.cache.sources import Sources
from gpuagent.pipelines.engine import detect_engine
from gpuagent.pipelines.family import Family
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.runner.compute import Compute
from gpuagent.runner.models import Models
from jobs.recipes import open_recipe
from jobs.services.claiming import claim_attempt
from jobs.services.submission import submit_job
from library.models import ModelVersion
from library.services.registration import Description, register_model
from library.services.vaes import register_vae
from studio.core import storage
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.gpuagent.tiny_models import FAMILIES, save_sdxl, save_vae
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


def register(name: str, folder: Path) -> ModelVersion:
    FAMILIES[name][1](folder)
    with system_scope():
        return register_model(folder, Description(name=name), organization_id=None)


@pytest.mark.parametrize(
    ("name", "sampler"), [("sdxl", "dpmpp_2m_karras"), ("sd3", "euler"), ("flux dev", "euler")]
)
def test_a_request_without_a_sampler_gets_one_that_works(
    bob_in_a: Actor, workspace: Workspace, tmp_path: Path, name: str, sampler: str
) -> None:
    model = register(name, tmp_path)
    job = factories.make_job(bob_in_a, workspace, model=model.digest, width=64, height=64)
    with organization_scope(workspace.organization_id):
        assert open_recipe(job).sampler == sampler


def test_what_the_family_cannot_do_is_told_field_by_field(
    bob_in_a: Actor, workspace: Workspace, tmp_path: Path
) -> None:
    model = register("flux dev", tmp_path)
    raw = {
        "prompt": "a mug",
        "model": model.digest,
        "sampler": "dpmpp_2m_karras",
        "width": 72,
        "negative_prompt": "snow",
        "clip_skip": 1,
    }
    with organization_scope(workspace.organization_id), pytest.raises(InvalidInputError) as caught:
        submit_job(actor=bob_in_a, workspace=workspace, raw=raw)
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["sampler", "width", "negative_prompt", "clip_skip"]
    assert all(problem.message.endswith(".") for problem in caught.value.problems)


def test_a_refiner_and_a_vae_are_asked_for_by_digest_and_must_fit(
    bob_in_a: Actor, workspace: Workspace, tmp_path: Path
) -> None:
    sdxl, sd3 = register("sdxl", tmp_path / "sdxl"), register("sd3", tmp_path / "sd3")
    save_sdxl(tmp_path / "refiner", is_refiner=True)
    save_vae(tmp_path / "vae", channels=4, scaling_factor=0.13025)
    with system_scope():
        refiner = register_model(
            tmp_path / "refiner", Description(name="Refiner"), organization_id=None
        )
        vae = register_vae(tmp_path / "vae", Description(name="Sharp"), organization_id=None)
    parts: dict[str, Any] = {"vae": vae.digest, "refiner": refiner.digest, "refiner_start": 0.7}
    job = factories.make_job(bob_in_a, workspace, model=sdxl.digest, **parts)
    agent = factories.make_agent()
    attempt = factories.make_attempt(job, agent.row)
    with system_scope():
        assignment = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id="boot-1")
    assert [ref.name for ref in assignment.adapters] == ["Sharp", "Refiner"]

    def problems(**raw: object) -> list[tuple[str, str]]:
        asked = {"prompt": "a mug", "model": sd3.digest, **raw}
        with (
            organization_scope(workspace.organization_id),
            pytest.raises(InvalidInputError) as caught,
        ):
            submit_job(actor=bob_in_a, workspace=workspace, raw=asked)
        return [(problem.field, problem.code) for problem in caught.value.problems]

    assert problems(**parts) == [("vae", "unfit"), ("refiner", "unfit")]
    assert problems(vae="f" * 64) == [("vae", "unknown_vae")]
    assert problems(refiner=vae.digest) == [("refiner", "unknown_refiner")]
    assert problems(model=sdxl.digest, refiner=sdxl.digest) == [("refiner", "same_model")]


@pytest.mark.parametrize("name", ["sdxl", "flux schnell"])
def test_a_registered_model_makes_the_picture_of_its_job(
    bob_in_a: Actor, workspace: Workspace, tmp_path: Path, name: str
) -> None:
    """From the library over the job to an agent's own cache, plan and model."""
    model = register(name, tmp_path / "model")
    job = factories.make_job(
        bob_in_a, workspace, model=model.digest, width=64, height=64, num_inference_steps=2
    )
    agent = factories.make_agent()
    attempt = factories.make_attempt(job, agent.row)
    with system_scope():
        assignment = claim_attempt(agent.row, attempt.pk, fence=attempt.fence, boot_id="boot-1")
    root = Path(storage.store().path("."))
    places = Places(studio_url="http://127.0.0.1:9", token="-", models_root=root)
    sources = Sources(places, httpx.Client(trust_env=False))
    models = Models(FileCache(tmp_path / "cache", sources), detect_engine(threads=1), Compute())
    recipe = parse_recipe(assignment.recipe)
    models.fetch(assignment.model)
    plan = models.plan(assignment.model, recipe)
    loaded = models.loaded(assignment.model, plan)
    assert isinstance(loaded, Family)
    pixels = loaded.decode(loaded.denoise(recipe, 0, loaded.encode_prompts(recipe)))
    assert pixels.shape == (64, 64, 3)


def test_the_form_offers_what_finishes_a_picture_where_there_is_such_a_thing(
    workspace: Workspace, bobs: Client, tmp_path: Path
) -> None:
    def page() -> str:
        return bobs.get(f"/w/{workspace.pk}/").content.decode()

    register("sdxl", tmp_path / "sdxl")
    assert 'name="vae"' not in page()
    assert 'name="refiner"' not in page()
    save_sdxl(tmp_path / "refiner", is_refiner=True)
    save_vae(tmp_path / "vae", channels=4, scaling_factor=0.13025)
    with system_scope():
        refiner = register_model(
            tmp_path / "refiner", Description(name="Refiner"), organization_id=None
        )
        vae = register_vae(tmp_path / "vae", Description(name="Sharp"), organization_id=None)
    assert f'<option value="{vae.digest}"' in page()
    assert f'<option value="{refiner.digest}">Refiner' in page()


def test_the_form_says_which_samplers_work_with_which_family(
    workspace: Workspace, bobs: Client, tmp_path: Path
) -> None:
    register("flux dev", tmp_path / "flux")
    page = bobs.get(f"/w/{workspace.pk}/").content.decode()
    assert 'data-family="flux"' in page
    assert '<option value="ddim" data-families="sd15 sdxl" data-default="">' in page
    flow = '<option value="euler" data-families="sd15 sdxl sd3 flux" data-default="sd3 flux"'
    assert f"{flow} selected>" in page, "the first model's own is chosen to begin with"
