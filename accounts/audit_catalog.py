"""`python -m accounts.audit_catalog`: every action of the audit log, and its page.

`docs/reference/audit-events.md` is this table. A test holds it against the code: an action that is
written and not here, or here and written nowhere, fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# `noun.past_participle`, and what the log's page says that somebody did.
ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "access.changed": "gave somebody who is let into a workspace another role there",
        "access.granted": "let somebody into a workspace",
        "access.revoked": "let somebody into a workspace no more",
        "agent.labels_changed": "gave an agent of the fleet other labels",
        "agent.removed": "removed an agent from the fleet",
        "agent.state_changed": "drained an agent, put it into maintenance, or let it serve again",
        "audit.exported": "exported the audit log",
        "authenticator_app.added": "added an authenticator app to their account",
        "authenticator_app.removed": "removed the authenticator app from their account",
        "fleet_policy.changed": "changed what the scheduler goes by",
        "fleet_share.changed": "changed an organization's part of the fleet",
        "grid.created": "asked for a grid of pictures",
        "invitation.accepted": "accepted an invitation",
        "invitation.created": "invited somebody",
        "invitation.link_made": "was shown a link to pass on by hand",
        "invitation.resent": "sent an invitation again",
        "invitation.revoked": "revoked an invitation",
        "job.cancel_requested": "asked to stop a running job",
        "job.canceled": "canceled a waiting job",
        "job.moved": "gave a waiting job another place in its owner's line",
        "job.paused": "paused a waiting job",
        "job.resumed": "let a paused job wait on",
        "job.submitted": "asked for pictures",
        "join_token.created": "made a token with which machines join the fleet",
        "join_token.revoked": "revoked a token with which machines join the fleet",
        "member.handed_over": "handed over what this member answered for",
        "member.joined_by_sign_on": "came in by single sign-on for the first time",
        "member.left": "left the organization",
        "member.removed": "removed this member",
        "member.removed_by_sign_on": "lost the membership: single sign-on gives no role any more",
        "member.role_changed": "changed this member's role",
        "member.role_mapped": "got another role from the single sign-on",
        "model.changed": "described a model anew",
        "model.pinned": "had a model kept warm",
        "model.registered": "added a version of a model",
        "model.removed": "took a model out of choice",
        "model.restored": "had a removed model chosen again",
        "model.unpinned": "had a model kept warm no more",
        "model_upload.begun": "began to add a file to the library",
        "model_upload.canceled": "gave up a file that was being added",
        "model_upload.tried_again": "had a refused file checked again",
        "operator.added": "was made an operator of the installation",
        "operator.removed": "is an operator of the installation no more",
        "organization.changed": "changed the organization's name or rules",
        "organization.created": "founded the organization",
        "organization.exported": "exported everything of the organization",
        "organization.key_rewrapped": "moved the organization's key to a new master key",
        "output.removed": "removed a picture for good, its time in the trash being over",
        "output.restored": "took a picture out of the trash",
        "output.trashed": "put a picture into the trash",
        "passkey.added": "added a passkey to their account",
        "passkey.removed": "removed a passkey from their account",
        "password.changed": "changed their password",
        "password.reset": "set a new password by mail",
        "password.set": "set their first password",
        "project.changed": "renamed, recolored, archived or brought back a project",
        "project.created": "made a project",
        "project.pictures_placed": "put pictures into a project",
        "project.pictures_removed": "took pictures out of their projects",
        "recovery_codes.added": "made recovery codes",
        "recovery_codes.removed": "removed their recovery codes",
        "recovery_codes.renewed": "made new recovery codes",
        "second_factor.removed": "removed this person's second factor at their request",
        "service_account.created": "made a service account",
        "service_account.deactivated": "ended a service account",
        "session.closed": "ended other sessions of theirs",
        "session.ended": "signed out",
        "session.refused": "somebody tried to sign in as this person and could not",
        "session.started": "signed in",
        "share.created": "made a share link",
        "share.revoked": "took a share link back",
        "sign_on.added": "added a single sign-on",
        "sign_on.bypassed": "came in past the single sign-on that members must use",
        "sign_on.changed": "changed a single sign-on",
        "sign_on.connected": "connected their account with a single sign-on",
        "sign_on.made_optional": "let members sign in without single sign-on again",
        "sign_on.removed": "removed a single sign-on",
        "sign_on.required": "required single sign-on",
        "sign_on.switched_off": "switched a single sign-on off",
        "sign_on.switched_on": "switched a single sign-on on",
        "team.created": "made a team",
        "team.deleted": "deleted a team",
        "team.members_changed": "changed who is in a team",
        "team.renamed": "renamed a team",
        "token.created": "made an API token",
        "token.revoked": "revoked an API token",
        "token.rotated": "rotated an API token",
        "upload.added": "added a starting picture",
        "upload.fetched": "fetched a starting picture from the web",
        "upload.mapped": "had the map of a starting picture drawn",
        "upload.removed": "removed a starting picture that no job uses",
        "upload.reused": "made a picture a starting picture",
        "wildcard.changed": "changed a list of words for prompts",
        "wildcard.created": "made a list of words for prompts",
        "wildcard.removed": "removed a list of words for prompts",
        "workspace.changed": "changed a workspace",
        "workspace.created": "made a workspace",
        "workspace.deleted": "deleted a workspace",
        "workspace.destroyed": "removed what was left of a deleted workspace",
        "workspace.key_destroyed": "destroyed the keys of a deleted workspace",
        "workspace.key_retired": "destroyed the workspace's old key",
        "workspace.key_rewrapped": "moved the workspace's key to a new master key",
        "workspace.key_rotated": "gave the workspace a new key",
        "workspace.restored": "brought a deleted workspace back",
    }
)

HEAD = """\
# Events of the audit log

<!-- Written by `python -m accounts.audit_catalog`; a test compares it with the code. -->

Every change is noted in the transaction that makes it: who (`actor`), through which API token
(empty: in the browser), from which network address, what (`action`), on which object, when.
`details` holds codes, numbers and ids. What somebody has written (prompts, names, addresses that
were typed) is never in it. Rows cannot be changed or deleted: the database refuses.

An actor is a person or a service account (`usr_…`), `system` (the studio itself, or a command of
whoever runs it), or `nobody` (a sign-in that was refused). What a person does to their account is
noted in each organization that they belong to. How to read and export it:
[read the audit log](../how-to/read-the-audit-log.md).

| action | who did it … |
|---|---|
"""

FOOT = """
Public models belong to no organization; that one was added is in no organization's log. Nor are
changes that whoever runs the installation makes in the database or with Django's own commands
(`manage.py changepassword`).
"""


def say(action: str) -> str:
    """What the action means; the action itself if a newer release wrote it."""
    return ACTIONS.get(action, action)


def render_page() -> str:
    """The page, with its final newline."""
    rows = [f"| `{action}` | {meaning} |\n" for action, meaning in sorted(ACTIONS.items())]
    return HEAD + "".join(rows) + FOOT


if __name__ == "__main__":
    print(render_page(), end="")
