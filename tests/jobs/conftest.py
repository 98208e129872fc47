"""Bob in his browser, and the room he works in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from workspaces.models import Workspace


@pytest.fixture
def bobs(client_of: Callable[[User], Client], bob: User) -> Client:
    return client_of(bob)


@pytest.fixture
def room(workspace: Workspace) -> str:
    return f"/w/{workspace.pk}"
