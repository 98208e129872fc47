"""What roles are called on pages, and what each means in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from accounts.roles import Role, WorkspaceRole, may_give

MEANINGS: Mapping[Role, str] = MappingProxyType(
    {
        Role.OWNER: "everything",
        Role.ADMIN: "people, teams and workspaces; everything but deleting and exporting",
        Role.ARTIST: "makes pictures",
        Role.BILLING: "sees the members, no pictures",
        Role.VIEWER: "looks at pictures",
    }
)
# As people choose: what is given most comes first.
ORDER = (Role.ARTIST, Role.VIEWER, Role.BILLING, Role.ADMIN, Role.OWNER)


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry of a list to choose a role from."""

    value: str
    label: str
    meaning: str


def label_of(role: Role | WorkspaceRole | str) -> str:
    """Such as `Artist`."""
    return str(role).capitalize()


def with_article(role: Role | WorkspaceRole | str) -> str:
    """Such as `an artist`, to go into a sentence."""
    name = str(role)
    if name == Role.BILLING:
        return "a billing contact"
    return f"{'an' if name[0] in 'aeo' else 'a'} {name}"


def choices_for(giver: Role, roles: Iterable[Role] = ORDER) -> list[Choice]:
    """The roles that somebody may give."""
    return [
        Choice(role.value, label_of(role), MEANINGS[role])
        for role in roles
        if may_give(giver, role)
    ]
