"""A rotation while people look at pictures and ask for new ones: nobody notices, nothing is lost.

Real threads, real transactions. The hour between a new key and the end of the old one stands for
"whoever was writing has finished": here it is over once every thread has done something from its
beginning since the rotation began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.actors import Actor
from accounts.models import Organization, User
from gpuagent.protocol.sealing import SEGMENT_BYTES, SealBrokenError
from jobs.models import Job, Output
from jobs.recipes import open_manifest, open_recipe
from studio.core.scoping import system_scope
from tests import factories
from tests.factories import AgentHandle
from workspaces.models import Artifact, Workspace
from workspaces.services import rotation
from workspaces.services.artifacts import read_all
from workspaces.services.keys import workspace_keys
from workspaces.signing import media_url

pytestmark = pytest.mark.django_db(transaction=True)
ROTATIONS = 3
PATIENCE_S = 60.0


@dataclass
class Crowd:
    """Threads that do one thing each, again and again, until they are told to stop."""

    done: dict[str, int] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def keep_doing(self, name: str, act: Callable[[], object]) -> threading.Thread:
        def work() -> None:
            try:
                while not self.stop.is_set():
                    act()
                    self.done[name] += 1
            except BaseException as error:  # the test raises it
                self.failures.append(error)
            finally:
                connections.close_all()

        self.done[name] = 0
        thread = threading.Thread(target=work, name=name)
        thread.start()
        return thread

    def wait_until_everybody_began_anew(self) -> None:
        """Two more of everything: the first may have begun before this call."""
        goals = {name: so_far + 2 for name, so_far in self.done.items()}
        self.wait_until(lambda: all(self.done[name] >= goal for name, goal in goals.items()))

    def wait_until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            if self.failures:
                raise self.failures[0]
            assert time.monotonic() < deadline, f"nothing moves any more: {self.done}"
            time.sleep(0.01)


@contextmanager
def at_work(tasks: dict[str, Callable[[], object]]) -> Iterator[Crowd]:
    crowd = Crowd()
    threads = [crowd.keep_doing(name, act) for name, act in tasks.items()]
    try:
        yield crowd
    finally:
        crowd.stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)


class Straggler:
    """Somebody who read the workspace's key before a rotation, and writes under it after."""

    def __init__(self, workspace_id: str) -> None:
        self._workspace_id = workspace_id
        self._holds, self._may_write = threading.Event(), threading.Event()
        self._may_write.set()

    def write(self) -> None:
        with system_scope():
            room = Workspace.objects.get(pk=self._workspace_id)
        self._holds.set()
        self._may_write.wait(PATIENCE_S)
        factories.make_input(room)
        self._holds.clear()

    @contextmanager
    def holding_the_key(self) -> Iterator[None]:
        self._may_write.clear()
        try:
            assert self._holds.wait(PATIENCE_S)
            yield
        finally:
            self._may_write.set()


@pytest.fixture
def straggler(workspace: Workspace) -> Straggler:
    return Straggler(workspace.pk)


@pytest.fixture
def tasks(
    straggler: Straggler,
    bob: User,
    bob_in_a: Actor,
    organization_a: Organization,
    workspace: Workspace,
    output: Output,
    agent: AgentHandle,
    api_of: Callable[[User, Organization], Client],
) -> dict[str, Callable[[], object]]:
    """What goes on in a room: looking, reading something large, asking, making, sweeping."""
    pictures = [output.picture, output.thumbnail, factories.make_input(workspace)]
    large_content = bytes(range(256)) * (SEGMENT_BYTES // 100)
    large = factories.make_input(workspace, large_content)
    api, numbers = api_of(bob, organization_a), count(1)

    def look() -> None:
        for artifact in pictures:
            answer = Client().get(media_url(artifact))
            assert answer.status_code == 200, answer.status_code
            assert len(answer.content) == artifact.size_bytes

    def read_large() -> None:
        with system_scope():
            assert read_all(Artifact.objects.get(pk=large.pk)) == large_content

    def ask() -> None:
        body = {"prompt": f"mug {next(numbers)}", "workspace": workspace.pk}
        answer = api.post("/api/v1/jobs", body, content_type="application/json")
        assert answer.status_code == 201, answer.content
        found = api.get(answer["Location"]).json()
        assert found["recipe"]["prompt"] == body["prompt"]

    def make() -> None:
        with system_scope():
            room = Workspace.objects.get(pk=workspace.pk)
        factories.make_output(bob_in_a, room, agent.row, prompt=f"star {next(numbers)}")

    def sweep() -> None:
        with system_scope():
            rotation.retire_keys()
        time.sleep(0.01)

    return {
        "look": look,
        "look too": look,
        "read": read_large,
        "ask": ask,
        "make": make,
        "sweep": sweep,
        "write late": straggler.write,
    }


def test_nobody_notices_a_rotation_and_nothing_is_lost(
    workspace: Workspace,
    straggler: Straggler,
    tasks: dict[str, Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 3)  # many small transactions between those of others
    retired = list[bytes]()
    with at_work(tasks) as crowd, system_scope():
        crowd.wait_until_everybody_began_anew()
        for _ in range(ROTATIONS):
            (old,) = workspace_keys(Workspace.objects.get(pk=workspace.pk))
            with straggler.holding_the_key():
                rotation.rotate_workspace_key(workspace.pk)
            crowd.wait_until_everybody_began_anew()
            _an_hour_passes()
            rotation.retire_keys()  # beside the sweeper
            crowd.wait_until(_no_key_is_retiring)
            retired.append(old)
        crowd.wait_until_everybody_began_anew()
    assert crowd.failures == []
    with system_scope():
        _all_opens(workspace.pk)
        _opens_nothing(workspace.pk, retired)


def test_two_rotations_at_the_same_time_are_one(workspace: Workspace, output: Output) -> None:
    barrier = threading.Barrier(2)

    def rotate() -> None:
        try:
            with system_scope():
                barrier.wait(PATIENCE_S)
                rotation.rotate_workspace_key(workspace.pk)
        finally:
            connections.close_all()

    with system_scope():
        (old,) = workspace_keys(Workspace.objects.get(pk=workspace.pk))
    with ThreadPoolExecutor(2) as pool:
        for rotated in [pool.submit(rotate) for _ in range(2)]:
            rotated.result(PATIENCE_S)
    with system_scope():
        assert workspace_keys(Workspace.objects.get(pk=workspace.pk))[1:] == [old]
        _an_hour_passes()
        assert rotation.retire_keys() == [workspace.pk]
        _all_opens(workspace.pk)
        _opens_nothing(workspace.pk, [old])


def _no_key_is_retiring() -> bool:
    return not Workspace.objects.filter(retiring_key__isnull=False).exists()


def _an_hour_passes() -> None:
    Workspace.objects.filter(rotated_at__isnull=False).update(
        rotated_at=timezone.now() - rotation.WRITERS_MAY_LAST - timedelta(minutes=1)
    )


def _all_opens(workspace_id: str) -> None:
    for job in Job.objects.filter(workspace=workspace_id):
        assert open_recipe(job).prompt
    for output in Output.objects.filter(job__workspace=workspace_id):
        assert open_manifest(output)
    for artifact in Artifact.objects.filter(workspace=workspace_id, status="stored"):
        assert read_all(artifact)


def _opens_nothing(workspace_id: str, keys: list[bytes]) -> None:
    """No row of the workspace is under one of these keys any more."""
    checked = 0
    for entry in rotation.sealed_columns():
        for ids in rotation._batches(entry, Workspace(pk=workspace_id)):
            manager = entry.model._default_manager
            for value in manager.filter(pk__in=ids).values_list(entry.column, flat=True):
                with pytest.raises(SealBrokenError):
                    entry.rewrap(bytes(value), keys)
                checked += 1
    assert checked >= 5
