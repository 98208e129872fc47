"""Wildcard lists of a workspace: written, changed, removed. What is in them lies sealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.sealing import SealBrokenError
from jobs.alternatives import NAME, AlternativesError, Lists, read_text
from jobs.models import Wildcard
from studio.core.errors import NotFoundError, invalid
from studio.core.ids import new_id
from workspaces.access import require_in
from workspaces.models import Workspace
from workspaces.services.keys import open_in, seal_in

KIND = "wildcard"
NAME_MAX = 60
ENTRIES_MAX = 1_000
ENTRY_MAX = 500
LISTS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WordList:
    """A wildcard list, opened."""

    id: str
    name: str
    entries: tuple[str, ...]


def open_list(wildcard: Wildcard) -> WordList:
    """The list's name and entries; no name where its key is gone."""
    sealed = bytes(wildcard.sealed_list)
    try:
        opened = open_in(wildcard.workspace, sealed, kind=KIND, object_id=wildcard.pk)
    except SealBrokenError:
        return WordList(id=wildcard.pk, name="", entries=())
    content = json.loads(opened)
    return WordList(id=wildcard.pk, name=content["name"], entries=tuple(content["entries"]))


def lists_of(workspace: Workspace) -> list[WordList]:
    """Those of the workspace, by name."""
    rows = Wildcard.objects.filter(workspace=workspace).select_related("workspace")
    return sorted((open_list(row) for row in rows), key=lambda found: found.name.lower())


def words_of(workspace: Workspace) -> Lists:
    """The entries of all lists, by names in small letters."""
    return {found.name.lower(): found.entries for found in lists_of(workspace) if found.name}


def get_wildcard(
    actor: Actor,
    wildcard_id: str,
    *,
    permission: Permission = Permission.JOB_SUBMIT,
    workspace: Workspace | None = None,
) -> Wildcard:
    """A list that the actor can reach, and of the workspace if one is given.

    Raises:
        NotFoundError: there is none of that id there.
        ForbiddenError: they may not do this in its workspace.
    """
    rows = Wildcard.objects.select_related("workspace").filter(
        pk=wildcard_id, organization_id=actor.organization_id
    )
    if workspace is not None:
        rows = rows.filter(workspace=workspace)
    found = rows.first()
    if found is None:
        raise NotFoundError(noun="wildcard list")
    require_in(actor, found.workspace, permission, noun="wildcard list")
    return found


@transaction.atomic
def add_wildcard(*, actor: Actor, workspace: Workspace, name: object, entries: object) -> Wildcard:
    """A new list.

    Raises:
        InvalidInputError: the name or an entry is none, or the name is taken.
    """
    require_in(actor, workspace, Permission.JOB_SUBMIT)
    _lock(workspace)
    if Wildcard.objects.filter(workspace=workspace).count() >= LISTS_MAX:
        message = f"There are {LISTS_MAX} lists already, which is all there can be. Remove one."
        raise invalid("name", "too_many", message, LISTS_MAX, LISTS_MAX)
    wildcard_id = new_id("wld")
    row = Wildcard.objects.create(
        id=wildcard_id,
        organization_id=workspace.organization_id,
        workspace=workspace,
        sealed_list=_sealed(workspace, wildcard_id, name, entries),
        created_by_id=actor.user_id,
    )
    record_event(actor, "wildcard.created", row.pk, {"workspace": workspace.pk})
    return row


@transaction.atomic
def change_wildcard(
    *, actor: Actor, wildcard: Wildcard, name: object = None, entries: object = None
) -> None:
    """Another name or other entries; None leaves as it is.

    Raises:
        InvalidInputError: the name or an entry is none, or the name is taken.
    """
    workspace = wildcard.workspace
    require_in(actor, workspace, Permission.JOB_SUBMIT, noun="wildcard list")
    _lock(workspace)
    was = open_list(wildcard)
    wildcard.sealed_list = _sealed(
        workspace,
        wildcard.pk,
        was.name if name is None else name,
        was.entries if entries is None else entries,
    )
    wildcard.save(update_fields=["sealed_list", "updated_at"])
    record_event(actor, "wildcard.changed", wildcard.pk, {"workspace": workspace.pk})


@transaction.atomic
def remove_wildcard(*, actor: Actor, wildcard: Wildcard) -> None:
    """Gone for good; pictures that were made with it keep their words."""
    require_in(actor, wildcard.workspace, Permission.JOB_SUBMIT, noun="wildcard list")
    if Wildcard.objects.filter(pk=wildcard.pk).delete()[0]:
        details = {"workspace": wildcard.workspace_id}
        record_event(actor, "wildcard.removed", wildcard.pk, details)


def entries_in(text: str) -> list[str]:
    """One a line, as a text area has them; lines with nothing but a remark (`#`) are none."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _lock(workspace: Workspace) -> None:
    """One at a time in a workspace, so that no two take the same name."""
    Workspace.objects.select_for_update().filter(pk=workspace.pk).values_list("pk").first()


def _sealed(workspace: Workspace, wildcard_id: str, name: object, entries: object) -> bytes:
    others = [found for found in lists_of(workspace) if found.id != wildcard_id]
    shown = _checked_name(name, {found.name.lower() for found in others})
    kept = _checked_entries(shown, entries)
    lists = {**{found.name.lower(): found.entries for found in others}, shown.lower(): kept}
    try:
        read_text(f"__{shown}__", lists)
    except AlternativesError as error:
        raise invalid("entries", error.code, error.message, error.value, error.limit) from None
    content = json.dumps({"name": shown, "entries": kept}).encode()
    return seal_in(workspace, content, kind=KIND, object_id=wildcard_id)


def _checked_name(name: object, taken: set[str]) -> str:
    shown = name.strip() if isinstance(name, str) else ""
    if not shown:
        raise invalid("name", "missing", "Give the list a name, such as animals.")
    if len(shown) > NAME_MAX:
        message = f"The name has {len(shown)} characters; at most {NAME_MAX} fit."
        raise invalid("name", "too_long", message, len(shown), NAME_MAX)
    if not NAME.fullmatch(shown):
        message = "A name has letters and digits, with a single space, - or _ between them."
        raise invalid("name", "not_a_name", message)
    if shown.lower() in taken:
        message = "There is a list of this name already. Choose another name."
        raise invalid("name", "taken", message)
    return shown


def _checked_entries(name: str, entries: object) -> Sequence[str]:
    if not isinstance(entries, list | tuple) or not all(isinstance(e, str) for e in entries):
        raise invalid("entries", "not_a_list", "`entries` must be a list of texts.")
    kept = [entry.strip() for entry in entries if entry.strip()]
    if not kept:
        raise invalid("entries", "missing", f"Write what {name} can be, one a line.")
    if len(kept) > ENTRIES_MAX:
        message = f"The list has {len(kept):,} entries; at most {ENTRIES_MAX:,} fit."
        raise invalid("entries", "too_many", message, len(kept), ENTRIES_MAX)
    longest = max(map(len, kept))
    if longest > ENTRY_MAX:
        message = f"An entry has {longest} characters; at most {ENTRY_MAX} fit. Shorten it."
        raise invalid("entries", "too_long", message, longest, ENTRY_MAX)
    if any("\x00" in entry or _has_half(entry) for entry in kept):
        raise invalid("entries", "not_text", "An entry has a character that is none. Remove it.")
    return kept


def _has_half(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
