"""An open socket ends with its session, and keeps to the organization's rules."""

from __future__ import annotations

import pytest
from channels.db import database_sync_to_async
from django.test import Client

from accounts.actors import Actor
from accounts.models import Membership, User
from jobs import consumers
from jobs.services.leaving import remove_member
from studio.core.scoping import organization_scope
from tests.accounts.guarding import SECURITY, Policy, add_app, signed_in
from tests.jobs.sockets import ORIGIN, connect, cookie_of, refusal
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]
in_thread = database_sync_to_async


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked at every word, not once a minute."""
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.0)


@pytest.fixture
def browser(bob: User) -> Client:
    return signed_in(bob)


def of(browser: Client) -> list[tuple[bytes, bytes]]:
    return [ORIGIN, (b"cookie", cookie_of(browser))]


async def ended(browser: Client, workspace: Workspace, change: object) -> int:
    """Open a socket, let something change, say a word; the code it is closed with."""
    async with connect(f"/ws/w/{workspace.pk}/", of(browser)) as socket:
        await socket.receive_type("agents")
        await socket.send({"type": "ping"})
        await socket.receive_type("pong")
        await in_thread(change)()
        await socket.send({"type": "ping"})
        code = await socket.receive()
        assert isinstance(code, int), code
        return code


async def test_signing_out_closes_it(browser: Client, workspace: Workspace) -> None:
    def sign_out() -> None:
        browser.post("/accounts/logout/")

    assert await ended(browser, workspace, sign_out) == consumers.CLOSE_UNAUTHENTICATED


async def test_being_signed_out_elsewhere_closes_it(
    browser: Client, bob: User, workspace: Workspace
) -> None:
    def end_others() -> None:
        signed_in(bob).post(SECURITY, {"action": "end_others"})

    assert await ended(browser, workspace, end_others) == consumers.CLOSE_UNAUTHENTICATED


async def test_a_new_password_closes_it(browser: Client, bob: User, workspace: Workspace) -> None:
    def change() -> None:
        bob.set_password("quite another long password")
        bob.save()

    assert await ended(browser, workspace, change) == consumers.CLOSE_UNAUTHENTICATED


async def test_it_closes_when_the_session_is_too_old(
    browser: Client, workspace: Workspace, set_policy: Policy
) -> None:
    def change() -> None:
        set_policy(workspace.organization_id, hours=0)

    assert await ended(browser, workspace, change) == consumers.CLOSE_UNAUTHENTICATED


async def test_without_the_second_factor_that_is_asked_for_it_does_not_open(
    browser: Client, workspace: Workspace, set_policy: Policy
) -> None:
    await in_thread(set_policy)(workspace.organization_id, second_factor=True)
    path = f"/ws/w/{workspace.pk}/"
    assert await refusal(path, of(browser)) == consumers.CLOSE_NOT_FOUND
    await in_thread(add_app)(browser)
    async with connect(path, of(browser)) as socket:
        await socket.receive_type("snapshot")


async def test_who_is_no_member_any_more_is_told_nothing_of_sessions(
    browser: Client, workspace: Workspace
) -> None:
    def leave() -> None:
        Membership.objects.all().delete()

    assert await ended(browser, workspace, leave) == consumers.CLOSE_NOT_FOUND


async def test_who_was_removed_is_out(
    browser: Client, bob: User, alice_in_a: Actor, workspace: Workspace
) -> None:
    def remove() -> None:
        with organization_scope(alice_in_a.organization_id):
            remove_member(actor=alice_in_a, user_id=bob.pk)

    assert await ended(browser, workspace, remove) == consumers.CLOSE_NOT_FOUND
