"""`python -m accounts.render_permissions`: the page `docs/reference/permissions.md`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from accounts.roles import GRANTED, IN_WORKSPACE, ROLE_PERMISSIONS, Permission, Permissions

MEANINGS: Mapping[Permission, str] = MappingProxyType(
    {
        Permission.JOB_SUBMIT: "ask for pictures, and make one again",
        Permission.JOB_VIEW: "see jobs, their progress and previews",
        Permission.JOB_CANCEL: (
            "cancel any job of the organization; pause and reorder one's own "
            "(those of others: with `workspace:manage`, too)"
        ),
        Permission.OUTPUT_VIEW: "see pictures and their manifests, download them",
        Permission.OUTPUT_TRASH: "put pictures into the trash and bring them back",
        Permission.UPLOAD_CREATE: "add starting pictures",
        Permission.MODEL_VIEW: "see models and samplers",
        Permission.MODEL_MANAGE: "add, describe, remove and restore models of the organization",
        Permission.PROJECT_MANAGE: "make projects, rename them, put pictures into them",
        Permission.SHARE_MANAGE: "share pictures by link, and revoke links",
        Permission.WORKSPACE_VIEW: "see a workspace, and who can see it",
        Permission.WORKSPACE_CREATE: "make workspaces",
        Permission.WORKSPACE_MANAGE: "rename a workspace, restrict it, let people and teams in",
        Permission.WORKSPACE_DELETE: "delete a workspace, and take that back within seven days",
        Permission.MEMBER_VIEW: "see the members and teams of the organization",
        Permission.MEMBER_MANAGE: "invite and remove members, change their roles",
        Permission.TEAM_MANAGE: "make teams and choose their members",
        Permission.SERVICE_ACCOUNT_MANAGE: "make service accounts and their API tokens",
        Permission.ORGANIZATION_MANAGE: "change the organization's name and sign-in rules",
        Permission.ORGANIZATION_EXPORT: "export everything of the organization",
        Permission.SIGN_ON_MANAGE: "set up single sign-on, and require it",
        Permission.AUDIT_VIEW: "read and export the audit log",
        Permission.TOKEN_MANAGE_OWN: "make and revoke one's own API tokens",
        Permission.FLEET_VIEW: "see the machines, the queue of the installation and its waits",
        Permission.FLEET_MANAGE: "add, drain and label machines, keep models warm, set shares",
    }
)

HEAD = """\
# Roles and permissions

<!-- Written by `python -m accounts.render_permissions`; a test compares it with the code. -->

A role belongs to a membership: the same person may be an owner in one organization and a viewer in
another. It holds in the whole organization, in every workspace that is not restricted. A restricted
workspace is closed to all but owners, admins, and those who are let in: a **grant** gives a member
or a team a role in one workspace, restricted or not, on top of what their role in the organization
gives them. An API token has what its owner has at the moment of the request, less what its scopes
and workspaces leave out; one that is limited to some workspaces has, of what holds in the
organization as a whole, `member:view`, `audit:view` and `token:manage_own` alone. Who is no member,
or is not let into a restricted workspace, gets 404 for everything in it; who is in but may not do
something gets 403 with the name of the permission.

## Roles in the organization
"""

GRANTS = """
## Roles in one workspace

What a grant gives. Permissions that are not in this table are had in the organization as a whole.
"""

FOOT = """
Every page, call and socket declares one of these, or the reason why it needs none. The table is
`accounts/roles.py`.
"""


def render_page() -> str:
    """The page, with its final newline."""
    granted = {role.value: rights & IN_WORKSPACE for role, rights in GRANTED.items()}
    given = {role.value: rights for role, rights in ROLE_PERMISSIONS.items()}
    lines = [HEAD, *_table(given, list(Permission))]
    lines += [GRANTS, *_table(granted, [p for p in Permission if p in IN_WORKSPACE])]
    return "\n".join(lines) + "\n" + FOOT


def _table(roles: Mapping[str, Permissions], permissions: list[Permission]) -> list[str]:
    lines = [
        "| permission | allows to | " + " | ".join(roles) + " |",
        "|---|---|" + "---|" * len(roles),
    ]
    for permission in permissions:
        cells = ["yes" if permission in rights else "–" for rights in roles.values()]
        lines.append(f"| `{permission}` | {MEANINGS[permission]} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    print(render_page(), end="")
