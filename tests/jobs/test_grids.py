"""Grids: submitted as one, filled as pictures arrive, downloaded as one picture."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.test import Client
from PIL import Image

from accounts.actors import Actor
from accounts.models import AuditEvent
from jobs.axes import CELLS_MAX
from jobs.models import Grid, GridCell, Job
from jobs.recipes import open_recipe
from jobs.services.grids import axes_of
from library.models import ModelVersion
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Workspace
from workspaces.services.rotation import rotate_workspace_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version", "workspace")]

BODY: dict[str, Any] = {
    "prompt": "a red car",
    "seed": 5,
    "num_images_per_prompt": 4,
    "axes": [
        {"parameter": "num_inference_steps", "values": "10-20 (+5)"},
        {"parameter": "sampler", "values": ["Euler", "euler_a"]},
    ],
}


def recipes() -> list[dict[str, Any]]:
    with system_scope():
        rows = GridCell.objects.select_related("job__workspace").order_by("place")
        return [open_recipe(row.job).to_wire() for row in rows]


def test_each_cell_is_a_picture_with_its_values(bob_api: Client) -> None:
    counted = post(bob_api, "/api/v1/grids/count", BODY)
    assert counted.json()["pictures"] == 6
    assert counted.json()["axes"][1]["values"] == ["euler", "euler_a"]
    with system_scope():
        assert not Job.objects.exists()
    made = post(bob_api, "/api/v1/grids", BODY)
    assert made.status_code == 201
    found = [(one["num_inference_steps"], one["sampler"]) for one in recipes()]
    assert found == [(steps, name) for name in ("euler", "euler_a") for steps in (10, 15, 20)]
    assert {(one["seed"], one["num_images_per_prompt"]) for one in recipes()} == {(5, 1)}
    assert made.json()["cells"][1]["values"] == ["15", "euler"]
    with system_scope():
        assert set(Job.objects.values_list("tier", flat=True)) == {"background"}
        assert AuditEvent.objects.get(action="grid.created").details["pictures"] == 6
    again = bob_api.get(f"/api/v1/grids/{made.json()['id']}")
    assert again.json() == made.json()
    assert [one["id"] for one in bob_api.get("/api/v1/grids").json()] == [made.json()["id"]]


def test_a_random_seed_is_one_for_all_and_words_are_drawn_once(bob_api: Client) -> None:
    body = {
        "prompt": "a {red|blue|green|pink} car",
        "axes": [{"parameter": "clip_skip", "values": "0-1"}],
    }
    assert post(bob_api, "/api/v1/grids", body).status_code == 201
    assert len({one["seed"] for one in recipes()}) == 1
    assert len({one["prompt"] for one in recipes()}) == 1
    assert "{" not in recipes()[0]["prompt"]


def test_words_models_and_sizes_vary(bob_api: Client, model_version: ModelVersion) -> None:
    axes = [
        {"parameter": "replace", "values": "red, blue"},
        {"parameter": "model", "values": ["House"]},
        {"parameter": "size", "values": ["64x64", "64x128"]},
    ]
    assert post(bob_api, "/api/v1/grids", {**BODY, "axes": axes}).status_code == 201
    assert [one["prompt"] for one in recipes()] == ["a red car", "a blue car"] * 2
    assert [one["height"] for one in recipes()] == [64, 64, 128, 128]
    assert {one["model"] for one in recipes()} == {model_version.digest}


def test_a_key_makes_it_once(bob_api: Client) -> None:
    first = post(bob_api, "/api/v1/grids", BODY, **{"Idempotency-Key": "k"})
    again = post(bob_api, "/api/v1/grids", BODY, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    with system_scope():
        assert Job.objects.count() == 6


@pytest.mark.parametrize(
    ("axes", "code"),
    [
        (None, "not_a_list"),
        ([], "missing"),
        ([1], "not_a_list"),
        ([{"parameter": "seed", "values": "1"}] * 4, "too_many"),
        ([{"parameter": "seed", "values": f"1-{CELLS_MAX + 1}"}], "too_many"),
        ([{"parameter": "sampler", "values": "best"}], "unknown_sampler"),
        ([{"parameter": "model", "values": "Nobody"}], "unknown_model"),
        ([{"parameter": "lora", "values": "1"}], "no_lora"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_made(
    bob_api: Client, axes: object, code: str
) -> None:
    refused = post(bob_api, "/api/v1/grids", {**BODY, "axes": axes})
    assert problem(refused)["errors"][0]["code"] == code
    with system_scope():
        assert not Grid.objects.exists()
        assert not Job.objects.exists()


def test_a_wrong_cell_says_which(bob_api: Client) -> None:
    axes = [{"parameter": "num_inference_steps", "values": "100-200 (+50)"}]
    refused = post(bob_api, "/api/v1/grids", {**BODY, "axes": axes})
    [told] = problem(refused)["errors"]
    assert told["field"] == "num_inference_steps"
    assert told["message"].endswith("(Steps 200)")
    with system_scope():
        assert not Job.objects.exists()


def test_the_page_fills_and_is_downloaded_as_one_picture(
    bobs: Client, room: str, agent: AgentHandle
) -> None:
    form = {
        "prompt": "a car",
        "tier": "turbo",
        "axes": json.dumps([{"parameter": "seed", "values": "1-3"}]),
    }
    assert bobs.post(f"{room}/grids/count", form).json() == {"pictures": 3}
    made = bobs.post(f"{room}/grids/new", form)
    assert made.status_code == 201
    url = made.json()["url"]
    page = text_of(bobs.get(url))
    assert "0 of 3 pictures so far" in page
    assert 'hx-trigger="every 2s"' in page
    with system_scope():
        first, *rest = Job.objects.order_by("pk")
        assert first.tier == "turbo"
    [output] = factories.run_attempt(
        factories.make_attempt(first, agent.row), agent.row, color="red"
    )
    live = text_of(bobs.get(f"{url}/live"))
    assert "1 of 3" in live
    assert f"/outputs/{output.pk}" in live
    for job in rest:
        factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)
    assert "hx-trigger" not in text_of(bobs.get(f"{url}/live"))
    assert "3 of 3" in text_of(bobs.get(f"{room}/grids"))
    sheet = bobs.get(f"{url}/sheet")
    assert sheet["Content-Disposition"].startswith("attachment")
    with Image.open(io.BytesIO(sheet.content)) as picture:
        colors = {color for _count, color in picture.getcolors(1 << 20) or []}
        assert {(255, 0, 0), (0, 128, 128)} <= colors
        assert not picture.info


def test_what_varies_lies_sealed_and_moves_with_the_key(
    bob_in_a: Actor, workspace: Workspace
) -> None:
    axes = [{"parameter": "replace", "values": ["car", "the merger"]}]
    grid = factories.make_grid(bob_in_a, workspace, axes=axes)
    assert b"merger" not in bytes(grid.sealed_axes)
    with system_scope():
        rotate_workspace_key(workspace.pk)
        moved = Grid.objects.select_related("workspace").get()
        assert bytes(moved.sealed_axes) != bytes(grid.sealed_axes)
        assert axes_of(moved)[0].values == ("car", "the merger")


def test_pictures_in_the_trash_leave_their_place(
    bobs: Client, room: str, bob_in_a: Actor, workspace: Workspace, agent: AgentHandle
) -> None:
    grid = factories.make_grid(bob_in_a, workspace)
    with system_scope():
        first = Job.objects.order_by("pk")[0]
    [output] = factories.run_attempt(factories.make_attempt(first, agent.row), agent.row)
    bobs.post(f"{room}/outputs/{output.pk}/trash")
    page = text_of(bobs.get(f"{room}/grids/{grid.pk}"))
    assert output.pk not in page
    assert "gone" in page
