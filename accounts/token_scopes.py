"""Scopes as people choose them: a few sets by name, or single permissions by what they allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from accounts.render_permissions import MEANINGS
from accounts.roles import ROLE_PERMISSIONS, Permission, Permissions, Role

CHOSEN = "chosen"
# Of resources whose name in permissions is not the one that people use.
_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "output": "Pictures",
        "upload": "Starting pictures",
        "share": "Share links",
        "organization": "Organization",
        "audit": "Audit log",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSet:
    """Scopes that are chosen together; None is no limit at all."""

    title: str
    note: str
    scopes: Permissions | None


_LOOK = ROLE_PERMISSIONS[Role.VIEWER] - {Permission.MEMBER_VIEW, Permission.TOKEN_MANAGE_OWN}
_MAKE = _LOOK | {Permission.JOB_SUBMIT, Permission.JOB_CANCEL, Permission.UPLOAD_CREATE}

SETS: Mapping[str, ScopeSet] = MappingProxyType(
    {
        "make": ScopeSet(
            title="Make pictures",
            note="ask for pictures, add starting pictures, cancel, see what was made",
            scopes=_MAKE,
        ),
        "look": ScopeSet(
            title="Look only",
            note="see jobs, pictures, models and workspaces; change nothing",
            scopes=_LOOK,
        ),
        "everything": ScopeSet(
            title="Everything its owner may",
            note="whatever the role allows, now and later",
            scopes=None,
        ),
    }
)


def sets_within(rights: Permissions) -> dict[str, ScopeSet]:
    """The sets of which somebody with these rights has all."""
    return {
        key: chosen
        for key, chosen in SETS.items()
        if chosen.scopes is None or chosen.scopes <= rights
    }


def scopes_in_words(scopes: Iterable[str] | None) -> str:
    """What a token may do, for the list: a set's title, or each permission's meaning."""
    wanted = None if scopes is None else frozenset(scopes)
    for known in SETS.values():
        if known.scopes == wanted:
            return known.title
    named = [MEANINGS[permission] for permission in Permission if permission in (wanted or ())]
    return "; ".join(named) or "Nothing that this release knows"


def by_resource(rights: Permissions) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rights by what they are about, each with its meaning."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for permission in Permission:
        if permission in rights:
            resource = permission.value.split(":")[0]
            title = _TITLES.get(resource, resource.replace("_", " ").capitalize() + "s")
            groups.setdefault(title, []).append((permission.value, MEANINGS[permission]))
    return list(groups.items())
