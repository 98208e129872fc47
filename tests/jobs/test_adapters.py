"""LoRAs and embeddings in jobs: named, called by their words, walled off, sent to agents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import Organization, User
from gpuagent.protocol.messages import Heartbeat
from jobs.models import Job
from jobs.services.claiming import claim_attempt
from jobs.services.fleet import hear_heartbeat
from jobs.services.outputs import rerun_output
from jobs.services.submission import submit_job
from library.models import ModelAsset, ModelVersion
from library.services.adapters import register_adapter
from library.services.registration import Description
from studio.core.errors import InvalidInputError
from studio.core.scoping import organization_scope, system_scope
from tests import factories
from tests.factories import AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store_folder", "workspace")]
ADAPTERS = factories.HOUSE.parent / "adapters"
NEON = ADAPTERS / "neon" / "pytorch_lora_weights.safetensors"
FAST = ADAPTERS / "fast" / "pytorch_lora_weights.safetensors"
TEAL = ADAPTERS / "teal" / "learned_embeds.safetensors"


def register(file: Path, name: str, *words: str, owner: Organization | None = None) -> ModelVersion:
    with system_scope():
        return register_adapter(
            file,
            Description(name=name),
            organization_id=owner.pk if owner else None,
            trigger_words=words,
        )


def other_teal(folder: Path) -> Path:
    """A file that differs in one bit, and is called by the same word."""
    content = bytearray(TEAL.read_bytes())
    content[-1] ^= 1
    file = folder / "other.safetensors"
    file.write_bytes(content)
    return file


@pytest.fixture
def house() -> ModelVersion:
    return factories.make_model_version()


@pytest.fixture
def neon(house: ModelVersion) -> ModelVersion:
    return register(NEON, "Neon signs", "neon sign of")


@pytest.fixture
def teal(house: ModelVersion) -> ModelVersion:
    return register(TEAL, "Teal")


@pytest.fixture
def _in_a(workspace: Workspace) -> Iterator[None]:
    with organization_scope(workspace.organization_id):
        yield


def submit(actor: Actor, workspace: Workspace, **raw: object) -> Job:
    values = {"prompt": "a mug", **raw}
    return submit_job(actor=actor, workspace=workspace, raw=values).job


def use(version: ModelVersion, weight: float = 1.0) -> dict[str, object]:
    return {"digest": version.digest, "weight": weight}


def problems_of(call: Callable[[], object]) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return [(each.field, each.code, each.message) for each in caught.value.problems]


@pytest.mark.usefixtures("neon", "teal")
def test_a_cold_agent_warms_models_and_no_adapters(house: ModelVersion, agent: AgentHandle) -> None:
    cold = Heartbeat(boot_id=agent.row.boot_id, ready=False, warm=(), attempts=())
    with system_scope():
        told = hear_heartbeat(agent.row, cold).preload
    assert [ref.digest for ref in told] == [house.digest]


@pytest.mark.usefixtures("_in_a")
def test_a_stack_is_in_the_recipe_and_in_the_memory(
    bob_in_a: Actor, workspace: Workspace, neon: ModelVersion
) -> None:
    with_it = submit(bob_in_a, workspace, loras=[use(neon, 0.8)])
    without = submit(bob_in_a, workspace)
    assert factories.stored_recipe(with_it)["loras"] == [use(neon, 0.8)]
    assert "loras" not in factories.stored_recipe(without)
    assert with_it.memory_bytes - without.memory_bytes >= neon.weights_bytes


@pytest.mark.usefixtures("_in_a")
def test_an_embedding_is_called_by_its_word_in_either_prompt(
    bob_in_a: Actor, workspace: Workspace, teal: ModelVersion
) -> None:
    for said in ({"prompt": "a <TEAL> mug"}, {"negative_prompt": "<teal>"}):
        recipe = factories.stored_recipe(submit(bob_in_a, workspace, **said))
        assert recipe["embeddings"] == [teal.digest]
    assert "embeddings" not in factories.stored_recipe(submit(bob_in_a, workspace, prompt="teal"))


@pytest.mark.usefixtures("_in_a")
def test_who_says_which_embeddings_gets_just_those(
    bob_in_a: Actor, workspace: Workspace, teal: ModelVersion, tmp_path: Path
) -> None:
    recipe = factories.stored_recipe(
        submit(bob_in_a, workspace, prompt="a <teal> mug", embeddings=[])
    )
    assert "embeddings" not in recipe
    other = register(other_teal(tmp_path), "Other teal")
    found = problems_of(lambda: submit(bob_in_a, workspace, embeddings=[teal.digest, other.digest]))
    assert [each[:2] for each in found] == [("embeddings", "same_word")]


@pytest.mark.usefixtures("_in_a")
def test_of_two_with_one_word_the_organizations_own_is_called(
    bob_in_a: Actor,
    workspace: Workspace,
    teal: ModelVersion,
    organization_a: Organization,
    tmp_path: Path,
) -> None:
    own = register(other_teal(tmp_path), "Our teal", owner=organization_a)
    recipe = factories.stored_recipe(submit(bob_in_a, workspace, prompt="a <teal> mug"))
    assert recipe["embeddings"] == [own.digest]
    assert own.digest != teal.digest


@pytest.mark.usefixtures("_in_a")
def test_what_is_unknown_foreign_or_of_another_kind_is_refused(
    bob_in_a: Actor,
    workspace: Workspace,
    neon: ModelVersion,
    teal: ModelVersion,
    organization_b: Organization,
) -> None:
    foreign = register(FAST, "Theirs", owner=organization_b)
    for digest in ("b" * 64, foreign.digest, teal.digest, neon.asset.versions.get().pk):
        found = problems_of(partial(submit, bob_in_a, workspace, loras=[{"digest": digest}]))
        assert [each[:2] for each in found] == [("loras", "unknown_lora")]
        assert "Theirs" not in found[0][2]
    found = problems_of(lambda: submit(bob_in_a, workspace, embeddings=[neon.digest]))
    assert [each[:2] for each in found] == [("embeddings", "unknown_embedding")]


@pytest.mark.usefixtures("_in_a")
def test_what_does_not_fit_the_model_is_refused_by_name(
    bob_in_a: Actor, workspace: Workspace, neon: ModelVersion, tmp_path: Path
) -> None:
    tiny = factories.make_model_version(
        folder=factories.make_tiny_folder(tmp_path / "tiny"), name="Tiny"
    )
    found = problems_of(lambda: submit(bob_in_a, workspace, model=tiny.digest, loras=[use(neon)]))
    assert [each[:2] for each in found] == [("loras", "unfit")]
    assert found[0][2].startswith("Neon signs does not fit Tiny: the model has no layer")


def test_the_agent_is_told_where_adapters_lie_and_never_foreign_ones(
    bob_in_a: Actor,
    workspace: Workspace,
    neon: ModelVersion,
    teal: ModelVersion,
    agent: AgentHandle,
    organization_b: Organization,
) -> None:
    register(NEON, "Their neon", owner=organization_b)  # the same file, so the same digest
    with organization_scope(workspace.organization_id):
        job = submit(bob_in_a, workspace, prompt="a <teal> mug", loras=[use(neon)])
    with system_scope():
        attempt = factories.make_attempt(job, agent.row)
        assignment = claim_attempt(
            agent.row, attempt.pk, fence=attempt.fence, boot_id=attempt.boot_id
        )
    refs = [(ref.name, ref.kind.value, ref.trigger_words) for ref in assignment.adapters]
    assert refs == [
        ("Neon signs", "lora", ("neon sign of",)),
        ("Teal", "embedding", ("<teal>",)),
    ]
    assert [len(ref.files) for ref in assignment.adapters] == [1, 1]


def test_run_again_says_what_is_missing_and_calls_nothing_new(
    bob_in_a: Actor, workspace: Workspace, neon: ModelVersion, agent: AgentHandle
) -> None:
    # Given a picture made with a LoRA, of a prompt that calls no embedding yet
    raw: dict[str, Any] = {"prompt": "a <teal> mug", "loras": [use(neon)]}
    output = factories.make_output(bob_in_a, workspace, agent.row, **raw)
    register(TEAL, "Teal")
    with organization_scope(workspace.organization_id):
        # Then it is made again as it was
        again = rerun_output(output=output, actor=bob_in_a).job
        assert "embeddings" not in factories.stored_recipe(again)
        assert factories.stored_recipe(again)["loras"] == [use(neon)]
        # And when the LoRA is gone, that is what is said
        with system_scope():
            ModelAsset.objects.filter(pk=neon.asset_id).delete()
        found = problems_of(lambda: rerun_output(output=output, actor=bob_in_a))
    assert [each[:2] for each in found] == [("loras", "unknown_lora")]


def test_the_api_lists_what_fits_which_model(
    bob_api: Client, house: ModelVersion, neon: ModelVersion, teal: ModelVersion
) -> None:
    listed = bob_api.get("/api/v1/adapters").json()
    assert [(each["name"], each["kind"]) for each in listed] == [
        ("Neon signs", "lora"),
        ("Teal", "embedding"),
    ]
    assert listed[0]["models"] == [house.digest]
    assert listed[1]["trigger_words"] == ["<teal>"]
    models = bob_api.get("/api/v1/models").json()
    assert {each["name"] for each in models if each["kind"] == "checkpoint"} == {"House"}
    assert {each["kind"] for each in models} <= {"checkpoint", "upscaler"}


def test_the_api_takes_a_stack_and_refuses_a_foreign_one(
    bob_api: Client, neon: ModelVersion, organization_b: Organization
) -> None:
    made = post(bob_api, "/api/v1/jobs", {"prompt": "a mug", "loras": [use(neon, 0.5)]})
    assert made.status_code == 201
    assert made.json()["recipe"]["loras"] == [use(neon, 0.5)]
    foreign = register(FAST, "Theirs", owner=organization_b)
    refused = post(bob_api, "/api/v1/jobs", {"prompt": "a mug", "loras": [use(foreign)]})
    assert refused.status_code == 422
    assert "unknown_lora" in str(problem(refused))


def test_the_room_offers_adapters_and_takes_a_stack_from_its_form(
    client_of: Callable[[User], Client],
    bob: User,
    workspace: Workspace,
    neon: ModelVersion,
    teal: ModelVersion,
) -> None:
    client = client_of(bob)
    page = client.get(f"/w/{workspace.pk}/").content.decode()
    assert f'<option value="{neon.digest}"' in page
    assert 'data-word="&lt;teal&gt;"' in page
    text = f'[{{"digest": "{neon.digest}", "weight": 0.5}}]'
    made = client.post(
        f"/w/{workspace.pk}/jobs",
        {"prompt": "a mug", "loras": text},
        headers={"HX-Request": "true"},
    )
    assert made.status_code == 201
    with organization_scope(workspace.organization_id):
        assert factories.stored_recipe(Job.objects.get())["loras"] == [use(neon, 0.5)]
