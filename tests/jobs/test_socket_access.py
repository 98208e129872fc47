"""A socket closes at once when its workspace is deleted or closed to who holds it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from channels.db import database_sync_to_async

from accounts.actors import Actor
from accounts.models import User
from accounts.roles import WorkspaceRole
from jobs.services.deletion import delete_workspace
from library.models import ModelVersion
from studio.core.scoping import organization_scope
from tests import factories
from tests.jobs.sockets import ORIGIN, Socket, connect, session_cookie
from workspaces.models import Workspace
from workspaces.services.administration import Changes, change_workspace
from workspaces.services.grants import revoke_grant

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


async def closed_with(socket: Socket) -> int:
    while isinstance(answer := await socket.receive(), dict):
        pass
    return int(answer)


async def in_scope(workspace: Workspace, work: Callable[[], object]) -> None:
    def run() -> None:
        with organization_scope(workspace.organization_id):
            work()

    await database_sync_to_async(run)()


@pytest.fixture
def bobs(bob: User, model_version: ModelVersion) -> list[tuple[bytes, bytes]]:
    return [ORIGIN, (b"cookie", session_cookie(bob))]


async def test_when_it_is_deleted(
    workspace: Workspace, alice_in_a: Actor, bobs: list[tuple[bytes, bytes]]
) -> None:
    async with connect(f"/ws/w/{workspace.pk}/", bobs) as socket:
        await socket.receive_type("agents")
        await in_scope(workspace, lambda: delete_workspace(actor=alice_in_a, workspace=workspace))
        assert await closed_with(socket) == 4404


async def test_when_it_is_restricted(
    workspace: Workspace, alice_in_a: Actor, bobs: list[tuple[bytes, bytes]]
) -> None:
    async with connect(f"/ws/w/{workspace.pk}/", bobs) as socket:
        await socket.receive_type("agents")
        changes = Changes(is_restricted=True)
        await in_scope(
            workspace,
            lambda: change_workspace(actor=alice_in_a, workspace=workspace, changes=changes),
        )
        assert await closed_with(socket) == 4404


async def test_when_the_grant_is_taken_back_and_not_while_it_is_there(
    workspace: Workspace, alice_in_a: Actor, bob: User, bobs: list[tuple[bytes, bytes]]
) -> None:
    grant = await database_sync_to_async(factories.make_grant)(workspace, bob, WorkspaceRole.VIEWER)
    async with connect(f"/ws/w/{workspace.pk}/", bobs) as socket:
        await socket.receive_type("agents")
        changes = Changes(is_restricted=True)
        await in_scope(
            workspace,
            lambda: change_workspace(actor=alice_in_a, workspace=workspace, changes=changes),
        )
        await socket.send({"type": "ping"})
        assert await socket.receive_type("pong")
        await in_scope(
            workspace,
            lambda: revoke_grant(actor=alice_in_a, workspace=workspace, grant_id=grant.pk),
        )
        assert await closed_with(socket) == 4404
