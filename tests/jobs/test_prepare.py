"""`prepare` and the house model: registered once per release, and nobody else's words touched."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.test.utils import override_settings

from accounts.models import Organization
from jobs.management.commands.prepare import (
    HOUSE_ADAPTERS,
    HOUSE_DESCRIPTION,
    HOUSE_EXAMPLES,
    HOUSE_NAME_BESIDE_ANOTHER,
    HOUSE_PRESETS,
    register_house_adapters,
    register_house_cutter,
    register_house_likeness,
    register_house_model,
    write_all_credentials,
)
from jobs.models import Agent
from jobs.services import agent_access
from library.models import ModelAsset, ModelFile, ModelVersion
from library.services.registration import Description, register_model
from studio.core import storage
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("system")]
PRESET = {"name": "Ours", "recipe": {"num_inference_steps": 9}}


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Path]:
    """A house model a thousandth of its size, where `prepare` looks for it."""
    clone = tmp_path / "clone"
    with override_settings(BASE_DIR=clone):
        yield factories.make_tiny_folder(clone / "house" / "model")


def asset_named(name: str) -> ModelAsset:
    return ModelAsset.objects.get(organization=None, name=name)


def test_the_house_model_is_registered_with_all_that_is_said_about_it(release: Path) -> None:
    register_house_model()

    house = asset_named("House")
    assert (house.licence, house.description) == ("CC0 1.0", HOUSE_DESCRIPTION)
    assert house.example_prompts == list(HOUSE_EXAMPLES)
    assert house.presets == list(HOUSE_PRESETS)


def test_another_start_leaves_alone_what_was_changed(release: Path) -> None:
    register_house_model()
    changed = {"licence": "Ours", "description": "In our words.", "presets": [PRESET]}
    ModelAsset.objects.filter(name="House").update(**changed)

    register_house_model()

    house = asset_named("House")
    assert (house.licence, house.description) == ("Ours", "In our words.")
    assert house.presets == [PRESET]
    assert ModelVersion.objects.count() == 1


def test_another_start_brings_back_what_the_store_lost(release: Path) -> None:
    register_house_model()
    keys = [file.storage_key for file in ModelFile.objects.all()]
    for key in keys:
        storage.delete(key)

    register_house_model()

    assert all(storage.exists(key) for key in keys)


def test_a_new_release_is_the_newest_version_and_says_everything_anew(release: Path) -> None:
    register_house_model()
    stale = {"licence": "As this project", "example_prompts": ["a cat"], "presets": [PRESET]}
    first = "The small model that comes with the studio: simple objects, 128 × 128 pixels."
    ModelAsset.objects.filter(name="House").update(description=first, **stale)
    factories.make_tiny_folder(release, weights=b"better")

    register_house_model()

    house = asset_named("House")
    assert (house.licence, house.description) == ("CC0 1.0", HOUSE_DESCRIPTION)
    assert house.example_prompts == list(HOUSE_EXAMPLES)
    assert house.presets == list(HOUSE_PRESETS)
    assert list(house.versions.order_by("number").values_list("number", flat=True)) == [1, 2]


def test_a_public_model_of_somebody_else_keeps_its_name_and_words(
    release: Path, tmp_path: Path
) -> None:
    theirs = factories.make_tiny_folder(tmp_path / "theirs", weights=b"theirs")
    words = Description(name="House", licence="Internal", text="House style.", presets=[PRESET])
    register_model(theirs, words, organization_id=None)

    for weights in (b"first", b"first", b"second"):
        factories.make_tiny_folder(release, weights=weights)
        register_house_model()

    house = asset_named("House")
    assert (house.licence, house.description) == ("Internal", "House style.")
    assert (house.presets, house.versions.count()) == ([PRESET], 1)
    ours = asset_named(HOUSE_NAME_BESIDE_ANOTHER)
    assert (ours.description, ours.versions.count()) == (HOUSE_DESCRIPTION, 2)


def test_an_organizations_own_copy_is_not_the_public_one(
    release: Path, organization_a: Organization
) -> None:
    factories.make_model_version(organization=organization_a, folder=release)

    register_house_model()

    assert asset_named("House").description == HOUSE_DESCRIPTION
    assert ModelAsset.objects.get(organization=organization_a).description == ""


def test_each_agent_of_this_machine_gets_credentials_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_AGENT_DEVICES", "cuda:0,cuda:1")
    paths = [tmp_path / "agent.json", tmp_path / "agent-1.json"]
    write_all_credentials(paths[0])
    before = [json.loads(path.read_text()) for path in paths]
    agents = [Agent.objects.get(pk=each["agent_id"]) for each in before]
    assert [agent.name for agent in agents] == ["local", "local-1"]
    for agent, kept, path in zip(agents, before, paths, strict=True):
        assert kept["namespace"] == agent.namespace
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with redis.Redis.from_url(kept["redis_url"]) as client:
            assert client.ping()
    # At the next start the tokens stay, and the way into Redis is there although it forgot
    for agent in agents:
        agent_access.revoke(agent)
    write_all_credentials(paths[0])
    assert [json.loads(path.read_text()) for path in paths] == before
    with redis.Redis.from_url(before[1]["redis_url"]) as client:
        assert client.ping()
    # and what an operator removed is made anew
    Agent.objects.filter(pk=agents[1].pk).delete()
    write_all_credentials(paths[0])
    again = [json.loads(path.read_text()) for path in paths]
    assert (again[0], again[1]["token"] == before[1]["token"]) == (before[0], False)
    for agent in (*agents, Agent.objects.get(pk=again[1]["agent_id"])):
        agent_access.revoke(agent)


@pytest.mark.usefixtures("store_folder")
def test_the_house_cutter_is_registered_once_and_gives_way_to_a_name() -> None:
    register_house_cutter()
    first = ModelVersion.objects.get()
    assert (first.asset.name, first.asset.kind) == ("House cutout", "cutter")
    ModelAsset.objects.update(name="Ours")
    register_house_cutter()
    assert ModelVersion.objects.get().asset.name == "Ours"
    ModelVersion.objects.all().delete()
    ModelAsset.objects.update(name="House cutout", kind="checkpoint", description="Another.")
    register_house_cutter()
    assert ModelVersion.objects.get().asset.name == "House cutout (studio)"


@pytest.mark.usefixtures("store_folder")
def test_the_house_ip_adapter_is_registered_once_with_its_encoder() -> None:
    factories.make_model_version()
    register_house_likeness()
    found = ModelVersion.objects.exclude(asset__kind="checkpoint")
    names = {version.asset.kind: version.asset.name for version in found}
    assert names == {"ip_adapter": "Likeness", "image_encoder": "Encoder of Likeness"}
    ModelAsset.objects.filter(kind="ip_adapter").update(name="Ours")
    register_house_likeness()
    assert ModelVersion.objects.count() == 3


@pytest.mark.usefixtures("store_folder")
def test_the_house_adapters_are_registered_beside_it_once() -> None:
    register_house_model()
    register_house_adapters()
    ModelAsset.objects.filter(name="Neon signs").update(name="Signs", description="Ours.")

    register_house_adapters()

    made = ModelVersion.objects.exclude(asset__kind="checkpoint").order_by("asset__name")
    assert [(v.asset.name, v.asset.kind, v.trigger_words) for v in made] == [
        ("Four steps", "lora", []),
        ("Signs", "lora", ["neon sign of"]),
        ("Teal", "embedding", ["<teal>"]),
    ]
    assert len(made) == len(HOUSE_ADAPTERS)
