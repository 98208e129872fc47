"""A model's presets, as the room's page and the API show them."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from django.test import Client

from gpuagent.protocol.recipe import Recipe
from jobs.management.commands.prepare import HOUSE_PRESETS
from library.models import ModelAsset, ModelVersion
from library.presets import check_presets
from studio.core.scoping import system_scope
from tests import factories

pytestmark = pytest.mark.django_db

BUTTON = re.compile(
    r'<button class="presets__button" type="button" data-recipe="([^"]*)" aria-pressed="false" '
    r'title="([^"]*)">([^<]*)</button>'
)
GROUP = re.compile(
    r'id="(presets_\d+)" role="group" aria-labelledby="(presets_\d+_label)"( hidden)?>'
)
STRANGE_NAME = "<b>&'\""
STRANGE = {"name": STRANGE_NAME, "recipe": {"num_inference_steps": 9}}


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version(presets=HOUSE_PRESETS)


def page_of(client: Client, room: str) -> str:
    """The page as it is sent, escapes and all."""
    return client.get(f"{room}/").content.decode()


def value_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', page)
    assert found, name
    return found[1]


def test_the_house_models_presets_are_sound() -> None:
    names = [preset["name"] for preset in check_presets(HOUSE_PRESETS)]
    assert names == ["Standard", "Quick draft", "Careful"]


def test_the_room_shows_the_models_presets(bobs: Client, room: str, house: ModelVersion) -> None:
    page = page_of(bobs, room)

    shown = [
        (name, title, json.loads(html.unescape(recipe)))
        for recipe, title, name in BUTTON.findall(page)
    ]
    assert [name for name, _title, _recipe in shown] == [preset["name"] for preset in HOUSE_PRESETS]
    assert [recipe for _name, _title, recipe in shown] == [
        preset["recipe"] for preset in HOUSE_PRESETS
    ]
    assert shown[1][1] == "10 steps, UniPC, guidance 4"
    ((group, label, hidden),) = GROUP.findall(page)
    assert (group, hidden) == ("presets_1", "")
    assert re.search(rf'value="{house.digest}"[^>]* data-presets="presets_1" checked', page)
    assert f'id="{label}">Presets<span class="visually-hidden"> of House</span>' in page


def test_the_form_starts_with_the_first_preset(
    bobs: Client, room: str, house: ModelVersion
) -> None:
    page = page_of(bobs, room)

    assert value_of(page, "num_inference_steps") == "20"
    assert value_of(page, "guidance_scale") == "4.0"
    assert (value_of(page, "width"), value_of(page, "height")) == ("128", "128")
    assert re.search(r'<option value="dpmpp_2m_karras"[^>]* selected>', page)


def test_without_presets_the_form_starts_with_the_recipes_own_values(
    bobs: Client, room: str, model_version: ModelVersion
) -> None:
    page = page_of(bobs, room)

    assert value_of(page, "guidance_scale") == str(Recipe(model="", prompt="").guidance_scale)
    assert GROUP.findall(page) == []


def test_only_the_chosen_models_presets_are_seen_and_names_are_escaped(
    bobs: Client, room: str, house: ModelVersion, tmp_path: Path
) -> None:
    folder = factories.make_tiny_folder(tmp_path / "other")
    factories.make_model_version(folder=folder, name="Other", presets=[STRANGE])

    page = page_of(bobs, room)

    groups = [(group, hidden) for group, _label, hidden in GROUP.findall(page)]
    assert groups == [("presets_1", ""), ("presets_2", " hidden")]
    assert html.escape(STRANGE_NAME) in page
    assert STRANGE_NAME not in page


def test_a_stored_preset_that_no_longer_passes_is_left_out(
    bobs: Client, bob_api: Client, room: str, house: ModelVersion
) -> None:
    old = [
        {"name": "Of old", "recipe": {"sampler": "of_old", "num_inference_steps": 50}},
        {"name": "Huge", "recipe": {"width": 100_000}},
    ]
    with system_scope():
        ModelAsset.objects.filter(pk=house.asset_id).update(presets=[*old, STRANGE])

    page = page_of(bobs, room)

    assert [name for _recipe, _title, name in BUTTON.findall(page)] == [html.escape(STRANGE_NAME)]
    assert value_of(page, "num_inference_steps") == "9"
    assert value_of(page, "width") == "128"
    (model,) = bob_api.get("/api/v1/models").json()
    assert model["presets"] == [STRANGE]


def test_programs_read_the_presets_with_the_models(bob_api: Client, house: ModelVersion) -> None:
    (model,) = bob_api.get("/api/v1/models").json()
    assert model["presets"] == [dict(preset) for preset in HOUSE_PRESETS]


def test_presets_are_described_in_the_openapi_document(client: Client) -> None:
    document = client.get("/api/schema/").json()
    shapes = document["components"]["schemas"]
    assert shapes["Model"]["properties"]["presets"]["items"] == {
        "$ref": "#/components/schemas/Preset"
    }
    assert "presets" in shapes["Model"]["required"]
    assert shapes["PresetRecipe"]["properties"]["width"]["type"] == "integer"
    assert "required" not in shapes["PresetRecipe"]
