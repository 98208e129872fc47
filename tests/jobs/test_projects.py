"""Projects: made, changed, filled, looked through; their names lie sealed."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.actors import Actor
from accounts.models import AuditEvent, Organization
from jobs.models import Job, Output
from jobs.services.outputs import rerun_output
from studio.core.errors import ForbiddenError, InvalidInputError
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import text_of
from tests.factories import PROMPT, AgentHandle
from tests.jobs.calls import post, problem
from workspaces.models import Project, Workspace
from workspaces.services.projects import (
    ProjectChange,
    change_project,
    create_project,
    project_name,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("model_version")]


@pytest.fixture
def project(bob_in_a: Actor, workspace: Workspace) -> Project:
    return factories.make_project(bob_in_a, workspace, "Spring campaign")


@pytest.mark.parametrize(
    ("name", "color", "code"),
    [
        ("", "gray", "missing"),
        ("   ", "gray", "missing"),
        (None, "gray", "missing"),
        ("x" * 121, "gray", "too_long"),
        ("spring  CAMPAIGN", "gray", "taken"),
        ("a\u202eb", "gray", "unprintable"),
        ("Other", "red; x", "unknown_color"),
        ("Other", None, "unknown_color"),
    ],
)
@pytest.mark.usefixtures("system", "project")
def test_what_cannot_be_a_project_is_said(
    bob_in_a: Actor, workspace: Workspace, name: object, color: object, code: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        create_project(actor=bob_in_a, workspace=workspace, name=name, color=color)
    assert [p.code for p in refused.value.problems] == [code]
    assert Project.objects.count() == 1


@pytest.mark.usefixtures("system")
def test_a_project_is_renamed_recolored_archived_and_brought_back(
    bob_in_a: Actor, project: Project
) -> None:
    def change(**what: object) -> bool:
        return change_project(actor=bob_in_a, project=project, change=ProjectChange(**what))  # type: ignore[arg-type]  # one test for all fields

    assert change(name="Autumn", color="teal")
    assert not change(name="Autumn", color="teal")
    assert change(is_archived=True)
    project.refresh_from_db()
    assert project_name(project) == "Autumn"
    assert project.archived_at is not None
    assert change(is_archived=False)
    actions = AuditEvent.objects.filter(object_id=project.pk).order_by("pk")
    assert [(e.action, e.details.get("fields")) for e in actions] == [
        ("project.created", None),
        ("project.changed", ["color", "name"]),
        ("project.changed", ["is_archived"]),
        ("project.changed", ["is_archived"]),
    ]
    assert "Autumn" not in repr(list(actions.values()))


@pytest.mark.usefixtures("system")
def test_a_viewer_changes_nothing(
    victor_in_a: Actor, workspace: Workspace, project: Project
) -> None:
    with pytest.raises(ForbiddenError):
        create_project(actor=victor_in_a, workspace=workspace, name="Mine")
    with pytest.raises(ForbiddenError):
        change_project(actor=victor_in_a, project=project, change=ProjectChange(name="Mine"))


def test_a_job_carries_its_project_and_so_do_its_pictures(
    bobs: Client,
    room: str,
    bob_in_a: Actor,
    workspace: Workspace,
    project: Project,
    agent: AgentHandle,
) -> None:
    form = {"prompt": PROMPT, "seed": "7", "project": project.pk}
    assert bobs.post(f"{room}/jobs", form).status_code == 302
    with system_scope():
        job = Job.objects.select_related("workspace").get()
    plain = factories.make_job(bob_in_a, workspace, seed=7)

    (output,) = factories.run_attempt(factories.make_attempt(job, agent.row), agent.row)

    assert (job.project_id, output.project_id) == (project.pk, project.pk)
    # The recipe, and with it the picture's bytes and manifest, knows nothing of it.
    assert factories.stored_recipe(job) == factories.stored_recipe(plain)
    with system_scope():
        again = rerun_output(output=output, actor=bob_in_a).job
        assert again.project_id == project.pk
        Project.objects.update(archived_at="2026-01-01T00:00:00Z")
        output = Output.objects.select_related("workspace", "job__workspace").get()
        assert rerun_output(output=output, actor=bob_in_a).job.project_id is None


@pytest.mark.parametrize("whose", ["nobody's", "another workspace's", "archived"])
def test_a_job_cannot_go_where_the_project_is_not(
    bob_api: Client,
    bob_in_a: Actor,
    organization_a: Organization,
    workspace: Workspace,
    project: Project,
    whose: str,
) -> None:
    if whose == "nobody's":
        wrong = "prj_00000000000000000000000000"
    elif whose == "archived":
        wrong = project.pk
        with system_scope():
            Project.objects.update(archived_at="2026-01-01T00:00:00Z")
    else:
        wrong = factories.make_project(bob_in_a, factories.make_workspace(organization_a)).pk

    answer = post(
        bob_api, "/api/v1/jobs", {"prompt": PROMPT, "project": wrong, "workspace": workspace.pk}
    )

    assert [e["field"] for e in problem(answer)["errors"]] == ["project"]
    with system_scope():
        assert not Job.objects.exists()


def test_the_gallery_and_the_lists_show_one_project(
    bobs: Client,
    bob_api: Client,
    room: str,
    bob_in_a: Actor,
    workspace: Workspace,
    project: Project,
    agent: AgentHandle,
) -> None:
    outside = factories.make_output(bob_in_a, workspace, agent.row)
    inside = factories.make_output(bob_in_a, workspace, agent.row, prompt="a red boat")
    placing = {"add": [inside.pk, inside.pk]}
    answer = post(bob_api, f"/api/v1/projects/{project.pk}/outputs", placing)
    assert answer.json() == {"added": 1, "removed": 0}

    for found in (
        text_of(bobs.get(f"{room}/gallery?project={project.pk}")),
        text_of(bobs.post(f"{room}/gallery", {"project": project.pk, "q": "boats"})),
        text_of(bob_api.get("/api/v1/outputs", {"project": project.pk, "q": "boat"})),
    ):
        assert inside.pk in found
        assert outside.pk not in found
    assert bobs.get(f"{room}/gallery?project=prj_0").status_code == 404
    assert inside.pk not in text_of(
        bob_api.get("/api/v1/outputs", {"project": project.pk, "q": "car"})
    )

    taken = post(bob_api, f"/api/v1/projects/{project.pk}/outputs", {"remove": [inside.pk]})
    assert taken.json() == {"added": 0, "removed": 1}
    assert bob_api.get(f"/api/v1/outputs/{inside.pk}").json()["project"] is None


def test_pictures_of_elsewhere_are_refused_together_with_the_rest(
    bob_api: Client,
    bob_in_a: Actor,
    organization_a: Organization,
    project: Project,
    output: Output,
    agent: AgentHandle,
) -> None:
    beside = factories.make_workspace(organization_a, "Beside")
    foreign = factories.make_output(bob_in_a, beside, agent.row)
    path = f"/api/v1/projects/{project.pk}/outputs"
    for body in (
        {"add": [output.pk, foreign.pk]},
        {"add": [output.pk], "remove": [output.pk]},
        {"add": "all"},
        {"add": [f"out_{number}" for number in range(1_001)]},
    ):
        assert problem(post(bob_api, path, body))["status"] == 422
    with system_scope():
        assert not Output.objects.exclude(project=None).exists()


def test_a_picture_is_put_into_a_project_in_the_viewer(
    bobs: Client, room: str, project: Project, output: Output
) -> None:
    page = text_of(bobs.get(f"{room}/outputs/{output.pk}"))
    assert f'<option value="{project.pk}">Spring campaign</option>' in page

    for wanted in (project.pk, ""):
        answer = bobs.post(f"{room}/outputs/{output.pk}/project", {"project": wanted})
        assert answer.status_code == 200
        with system_scope():
            output.refresh_from_db()
        assert output.project_id == (wanted or None)


def test_the_page_of_projects_makes_changes_and_loses_no_input(
    bobs: Client, room: str, project: Project
) -> None:
    assert bobs.post(f"{room}/projects", {"name": "Winter", "color": "teal"}).status_code == 302
    taken = bobs.post(f"{room}/projects", {"name": "winter", "color": "orange"})
    assert taken.status_code == 422
    assert 'value="winter"' in text_of(taken)
    assert "already" in text_of(taken)

    wrong = bobs.post(f"{room}/projects/{project.pk}", {"name": "WINTER"})
    assert (wrong.status_code, 'value="WINTER"' in text_of(wrong)) == (422, True)
    assert bobs.post(f"{room}/projects/{project.pk}", {"archived": "1"}).status_code == 302
    page = text_of(bobs.get(f"{room}/projects"))
    assert "Bring back" in page
    assert "Spring campaign" not in text_of(bobs.get(f"{room}/"))
    assert "Winter" in text_of(bobs.get(f"{room}/"))


def test_the_api_makes_lists_and_changes(bob_api: Client, workspace: Workspace) -> None:
    made = post(bob_api, "/api/v1/projects", {"name": "Spring", "color": "teal"})
    body = made.json()
    assert (made.status_code, body["name"], body["is_archived"]) == (201, "Spring", False)
    path = f"/api/v1/projects/{body['id']}"

    changed = bob_api.patch(path, {"is_archived": True, "name": "Autumn"}, "application/json")

    assert (changed.json()["name"], changed.json()["is_archived"]) == ("Autumn", True)
    assert bob_api.get(path).json() == changed.json()
    assert bob_api.get("/api/v1/projects").json() == []
    assert bob_api.get("/api/v1/projects?archived=1").json() == [changed.json()]
    wrong = bob_api.patch(path, {"is_archived": "yes", "name": 3}, "application/json")
    assert {e["field"] for e in problem(wrong)["errors"]} == {"is_archived", "name"}
