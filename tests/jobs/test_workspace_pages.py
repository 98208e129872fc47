"""The pages of workspaces, as people use them: the list, the switcher, who can see one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.models import Organization, User
from accounts.roles import Role, WorkspaceRole
from jobs.models import Output
from studio.core.scoping import system_scope
from tests import factories
from tests.answers import text_of
from workspaces.models import Workspace, WorkspaceGrant
from workspaces.palette import COLORS

pytestmark = pytest.mark.django_db
Sign = Callable[[User], Client]


@pytest.fixture
def list_path(organization_a: Organization) -> str:
    return f"/o/{organization_a.pk}/workspaces"


def stored(workspace: Workspace) -> Workspace:
    with system_scope():
        return Workspace.objects.get(pk=workspace.pk)


def test_the_list_says_what_lies_where(
    output: Output, alice: User, client_of: Sign, list_path: str, organization_a: Organization
) -> None:
    factories.restrict(factories.make_workspace(organization_a, "Secret launch"))
    page = text_of(client_of(alice).get(list_path))
    assert "2 workspaces" in page
    assert "Open · 2 people · 1 picture" in " ".join(page.split())
    assert "Restricted · 1 person · 0 pictures · 0\xa0bytes" in " ".join(page.split(" "))


def test_a_workspace_is_made_on_the_page(
    alice: User, client_of: Sign, list_path: str, organization_a: Organization
) -> None:
    client = client_of(alice)
    values = {"name": "Perfume", "color": "teal", "is_restricted": "on"}
    assert client.post(list_path, values).status_code == 302
    with system_scope():
        made = Workspace.objects.get(name="Perfume")
    assert (made.color, made.is_restricted) == ("teal", True)
    assert "Perfume is there." in text_of(client.get(list_path))
    assert client.get(f"/w/{made.pk}/").status_code == 200


def test_a_form_sent_twice_makes_one(
    alice: User, client_of: Sign, list_path: str, organization_a: Organization
) -> None:
    values = {"name": "Perfume", "color": "teal"}
    first, second = (client_of(alice).post(list_path, values) for _ in range(2))
    assert (first.status_code, second.status_code) == (302, 422)
    assert "There is a workspace Perfume already" in text_of(second)
    with system_scope():
        assert Workspace.objects.filter(organization=organization_a).count() == 1


def test_what_was_typed_is_kept_when_it_cannot_be(
    alice: User, client_of: Sign, list_path: str
) -> None:
    values = {"name": "x" * 121, "color": "teal", "is_restricted": "on"}
    answer = client_of(alice).post(list_path, values)
    assert answer.status_code == 422
    page = text_of(answer)
    assert "121 characters; give it 1 to 120" in page
    assert f'value="{"x" * 121}"' in page
    assert 'value="teal" checked' in page
    assert "aria-describedby" in page


def test_deleting_needs_the_name_and_can_be_taken_back(
    workspace: Workspace, alice: User, client_of: Sign, list_path: str
) -> None:
    client = client_of(alice)
    wrong = client.post(f"/w/{workspace.pk}/delete", {"confirmation": "Rom"})
    assert wrong.status_code == 422
    assert "Type the name of the workspace, Room" in text_of(wrong)
    assert 'value="Rom"' in text_of(wrong)
    assert stored(workspace).deleted_at is None

    gone = client.post(f"/w/{workspace.pk}/delete", {"confirmation": " Room "})
    assert gone["Location"] == list_path
    page = text_of(client.get(list_path))
    until = stored(workspace).destroy_at
    assert until is not None
    assert f"{until:%H:%M} UTC" in page
    assert client.get(f"/w/{workspace.pk}/").status_code == 404

    back = f"{list_path}/{workspace.pk}/restore"
    assert "Room is back" in text_of(client.post(back, follow=True))
    assert client.get(f"/w/{workspace.pk}/").status_code == 200
    assert client.post(back).status_code == 302, "pressed twice"


def test_a_click_too_late_says_so(
    workspace: Workspace, alice: User, client_of: Sign, list_path: str
) -> None:
    with system_scope():
        past = timezone.now() - timedelta(seconds=1)
        Workspace.objects.filter(pk=workspace.pk).update(deleted_at=past, destroy_at=past)
    client = client_of(alice)
    assert "Bring back" not in text_of(client.get(list_path))
    page = text_of(client.post(f"{list_path}/{workspace.pk}/restore", follow=True))
    assert "The seven days are over" in page


def test_admins_see_no_deleted_ones(
    workspace: Workspace, organization_a: Organization, client_of: Sign, list_path: str
) -> None:
    admin = factories.make_member(organization_a, Role.ADMIN)
    with system_scope():
        later = timezone.now() + timedelta(days=1)
        Workspace.objects.filter(pk=workspace.pk).update(deleted_at=later, destroy_at=later)
    client = client_of(admin)
    assert "Room" not in text_of(client.get(list_path))
    assert client.post(f"{list_path}/{workspace.pk}/restore").status_code == 403


def test_another_organizations_workspace_is_not_brought_back_here(
    workspace_b: Workspace, alice: User, client_of: Sign, list_path: str
) -> None:
    assert client_of(alice).post(f"{list_path}/{workspace_b.pk}/restore").status_code == 404


def test_the_access_page_says_who_as_what_and_why(
    workspace: Workspace,
    organization_a: Organization,
    alice: User,
    bob: User,
    bill: User,
    victor: User,
    client_of: Sign,
) -> None:
    team = factories.make_team(organization_a, bill, name="Layout")
    factories.make_grant(workspace, team, WorkspaceRole.VIEWER)
    factories.make_grant(workspace, victor, WorkspaceRole.MANAGER)
    page = " ".join(text_of(client_of(victor).get(f"/w/{workspace.pk}/access")).split())
    assert "4 people get in" in page
    assert "viewer, team Layout" in page
    assert "viewer of the organization; manager, let in by name" in page
    assert "bob@alpha.example would lose it at once." in page
    for_bob = text_of(client_of(bob).get(f"/w/{workspace.pk}/access"))
    assert "viewer, team Layout" in for_bob
    assert "Delete this workspace" not in for_bob
    assert "Restrict" not in for_bob
    assert "Delete this workspace" in text_of(client_of(alice).get(f"/w/{workspace.pk}/access"))


def test_a_manager_lets_in_changes_and_removes(
    workspace: Workspace, bob: User, bill: User, client_of: Sign
) -> None:
    factories.make_grant(workspace, bob, WorkspaceRole.MANAGER)
    client, path = client_of(bob), f"/w/{workspace.pk}/access"
    let_in = client.post(f"{path}/grants", {"grantee": bill.pk, "role": "viewer"})
    assert let_in["Location"] == path
    with system_scope():
        grant = WorkspaceGrant.objects.get(membership__user=bill)
    assert client_of(bill).get(f"/w/{workspace.pk}/").status_code == 200
    client.post(f"{path}/grants/{grant.pk}", {"role": "artist", "action": "change"})
    with system_scope():
        assert WorkspaceGrant.objects.get(pk=grant.pk).role == "artist"
    client.post(f"{path}/grants/{grant.pk}", {"action": "revoke"})
    assert client_of(bill).get(f"/w/{workspace.pk}/").status_code == 403


def test_nobody_chosen_is_said_in_place(workspace: Workspace, alice: User, client_of: Sign) -> None:
    values = {"grantee": "", "role": "viewer"}
    answer = client_of(alice).post(f"/w/{workspace.pk}/access/grants", values)
    assert answer.status_code == 422
    assert "Name a member or a team" in text_of(answer)


def test_who_shuts_themselves_out_is_led_away(
    workspace: Workspace, bob: User, client_of: Sign, organization_a: Organization
) -> None:
    factories.make_workspace(organization_a, "Another")
    grant = factories.make_grant(factories.restrict(workspace), bob, WorkspaceRole.MANAGER)
    path = f"/w/{workspace.pk}/access/grants/{grant.pk}"
    answer = client_of(bob).post(path, {"action": "revoke"})
    assert answer["Location"] == "/"


def test_the_switch_restricts_and_opens(workspace: Workspace, alice: User, client_of: Sign) -> None:
    client, path = client_of(alice), f"/w/{workspace.pk}/access/settings"
    client.post(path, {"is_restricted": "1"})
    assert stored(workspace).is_restricted
    page = text_of(client.get(f"/w/{workspace.pk}/access"))
    assert "every member of Alpha gets in with their role" in " ".join(page.split())
    client.post(path, {"is_restricted": "0"})
    assert not stored(workspace).is_restricted
    assert stored(workspace).name == "Room"


def test_a_wrong_name_is_said_in_place_and_kept(
    workspace: Workspace, alice: User, client_of: Sign
) -> None:
    values = {"name": " ", "color": "pink"}
    answer = client_of(alice).post(f"/w/{workspace.pk}/access/settings", values)
    assert answer.status_code == 422
    assert 'value="pink" checked' in text_of(answer)
    assert stored(workspace).color == "violet"


def test_the_switcher_has_all_of_the_persons_organizations_and_nothing_else(
    workspace: Workspace,
    organization_a: Organization,
    organization_b: Organization,
    workspace_b: Workspace,
    alice: User,
    bob: User,
    client_of: Sign,
) -> None:
    from_elsewhere = factories.make_workspace(factories.make_organization("Gamma"), "Not theirs")
    closed = factories.restrict(factories.make_workspace(organization_a, "Secret launch"))
    alice.memberships.create(organization=organization_b, role=Role.ARTIST.value)
    page = text_of(client_of(alice).get(f"/w/{workspace.pk}/"))
    for room in (workspace, closed, workspace_b):
        assert f'href="/w/{room.pk}/"' in page
    assert f'href="/w/{workspace.pk}/" aria-current="page"' in page
    assert from_elsewhere.name not in page
    assert f'href="/o/{organization_a.pk}/workspaces"' in page
    assert f'href="/o/{organization_b.pk}/workspaces"' not in page, "she is an artist there"
    assert 'aria-label="restricted"' in page
    assert "Find a workspace" not in page

    for_bob = text_of(client_of(bob).get(f"/w/{workspace.pk}/"))
    assert closed.name not in for_bob
    assert "Manage workspaces" not in for_bob


def test_many_workspaces_can_be_found_by_name(
    workspace: Workspace, organization_a: Organization, alice: User, client_of: Sign
) -> None:
    for number in range(8):
        factories.make_workspace(organization_a, f"Room {number}")
    assert "Find a workspace" in text_of(client_of(alice).get(f"/w/{workspace.pk}/"))


@pytest.mark.parametrize("path", ["workspaces", "settings", "export"])
def test_the_organization_is_named_at_the_top_of_its_pages(
    organization_a: Organization, alice: User, client_of: Sign, path: str
) -> None:
    page = text_of(client_of(alice).get(f"/o/{organization_a.pk}/{path}"))
    assert '<span class="workspace__organization">Alpha</span>' in page


def test_names_are_escaped_wherever_they_stand(
    workspace: Workspace, alice: User, client_of: Sign, list_path: str
) -> None:
    with system_scope():
        Workspace.objects.filter(pk=workspace.pk).update(name='<b title="x">', color='"><script>')
    for path in (list_path, f"/w/{workspace.pk}/", f"/w/{workspace.pk}/access"):
        content = client_of(alice).get(path).content.decode()
        assert "<b title" not in content
        assert "><script>" not in content


def test_an_owner_without_a_workspace_is_led_to_making_one(
    alice: User, bob: User, client_of: Sign, list_path: str
) -> None:
    assert client_of(alice).get("/")["Location"] == list_path
    assert client_of(bob).get("/").status_code == 403


def test_every_color_has_a_style() -> None:
    styles = (settings.BASE_DIR / "frontend" / "styles" / "rooms.css").read_text(encoding="utf-8")
    assert all(f".swatch--{color} circle" in styles for color in COLORS)
