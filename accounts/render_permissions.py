"""`python -m accounts.render_permissions`: the page `docs/reference/permissions.md`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from accounts.roles import Permission, Role, is_allowed

MEANINGS: Mapping[Permission, str] = MappingProxyType(
    {
        Permission.JOB_SUBMIT: "ask for pictures, and make one again",
        Permission.JOB_VIEW: "see jobs, their progress and previews",
        Permission.JOB_CANCEL: "cancel any job of the organization",
        Permission.OUTPUT_VIEW: "see pictures and their manifests, download them",
        Permission.OUTPUT_TRASH: "put pictures into the trash and bring them back",
        Permission.UPLOAD_CREATE: "add starting pictures",
        Permission.MODEL_VIEW: "see models and samplers",
        Permission.MODEL_MANAGE: "manage models; no page or call asks for it yet",
        Permission.WORKSPACE_VIEW: "see the workspaces of the organization",
        Permission.TOKEN_MANAGE_OWN: "make and revoke one's own API tokens",
    }
)

HEAD = """\
# Roles and permissions

<!-- Written by `python -m accounts.render_permissions`; a test compares it with the code. -->

A role belongs to a membership: the same person may be an owner in one organization and a viewer in
another. It holds in the whole organization, in all of its workspaces. An API token has the role
that its owner has at the moment of the request. Who is no member gets 404 for everything; a member
whose role does not suffice gets 403 with the name of the permission.
"""

FOOT = """
Every page, call and socket declares one of these, or the reason why it needs none. The table is
`accounts/roles.py`.
"""


def render_page() -> str:
    """The page, with its final newline."""
    roles = list(Role)
    lines = [
        HEAD,
        "| permission | allows to | " + " | ".join(role.value for role in roles) + " |",
        "|---|---|" + "---|" * len(roles),
    ]
    for permission in Permission:
        cells = ["yes" if is_allowed(role, permission) else "–" for role in roles]
        lines.append(f"| `{permission}` | {MEANINGS[permission]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + FOOT


if __name__ == "__main__":
    print(render_page(), end="")
