"""Workspace keys: what is sealed in one room opens there alone, as what it was sealed as."""

from __future__ import annotations

import pytest

from gpuagent.protocol.sealing import SealBrokenError
from studio.core.keys import new_wrapped_key, unwrap_with_master
from tests import factories
from workspaces.models import Artifact, Workspace
from workspaces.services.artifacts import read_all
from workspaces.services.keys import data_key, new_data_key, open_in, seal_in

pytestmark = pytest.mark.django_db
SECRET = b"photo of a blue car"


@pytest.fixture
def second(workspace: Workspace) -> Workspace:
    """Another room of the same organization."""
    return factories.make_workspace(workspace.organization, "Second")


def test_what_was_sealed_opens_again(workspace: Workspace) -> None:
    sealed = seal_in(workspace, SECRET, kind="recipe", object_id="job_1")

    assert SECRET not in sealed
    assert open_in(workspace, sealed, kind="recipe", object_id="job_1") == SECRET


def test_equal_values_are_sealed_differently(workspace: Workspace) -> None:
    first, second = (seal_in(workspace, SECRET, kind="k", object_id="o") for _ in range(2))
    assert first != second


def test_another_rooms_key_does_not_open(
    workspace: Workspace, second: Workspace, workspace_b: Workspace
) -> None:
    sealed = seal_in(workspace, SECRET, kind="recipe", object_id="job_1")
    for stranger in (second, workspace_b):
        with pytest.raises(SealBrokenError):
            open_in(stranger, sealed, kind="recipe", object_id="job_1")


@pytest.mark.parametrize(("kind", "object_id"), [("manifest", "job_1"), ("recipe", "job_2")])
def test_a_value_moved_to_another_row_or_column_does_not_open(
    workspace: Workspace, kind: str, object_id: str
) -> None:
    sealed = seal_in(workspace, SECRET, kind="recipe", object_id="job_1")
    with pytest.raises(SealBrokenError):
        open_in(workspace, sealed, kind=kind, object_id=object_id)


def test_a_changed_value_does_not_open_whatever_byte_was_changed(workspace: Workspace) -> None:
    sealed = seal_in(workspace, SECRET, kind="recipe", object_id="job_1")
    for position in range(len(sealed)):
        spoiled = bytearray(sealed)
        spoiled[position] ^= 1
        with pytest.raises(SealBrokenError):
            open_in(workspace, bytes(spoiled), kind="recipe", object_id="job_1")


@pytest.mark.parametrize("length", [0, 1, 39, 40, 48, 60])
def test_a_value_cut_short_does_not_open(workspace: Workspace, length: int) -> None:
    sealed = seal_in(workspace, SECRET, kind="recipe", object_id="job_1")
    with pytest.raises(SealBrokenError):
        open_in(workspace, sealed[:length], kind="recipe", object_id="job_1")


def test_a_data_key_opens_in_its_room_alone(workspace: Workspace, second: Workspace) -> None:
    plain, wrapped = new_data_key(workspace)

    assert data_key(workspace, wrapped) == plain
    assert plain not in wrapped
    with pytest.raises(SealBrokenError):
        data_key(second, wrapped)


def test_bytes_swapped_between_artifacts_do_not_open(
    workspace: Workspace, store_folder: object
) -> None:
    first, second = (factories.make_input(workspace, factories.make_png(c)) for c in ("red", "tan"))
    swapped = Artifact(
        pk=second.pk,
        organization_id=first.organization_id,
        workspace=workspace,
        kind=first.kind,
        wrapped_key=first.wrapped_key,
        sealed_bytes=second.sealed_bytes,
        size_bytes=second.size_bytes,
    )
    with pytest.raises(SealBrokenError):
        read_all(swapped)


def test_a_key_of_another_installation_does_not_unwrap() -> None:
    wrapped = bytearray(new_wrapped_key())
    wrapped[0] ^= 1
    with pytest.raises(SealBrokenError):
        unwrap_with_master(bytes(wrapped))
