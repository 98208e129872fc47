"""Pages of a workspace: the scope comes from the URL."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from accounts.actors import Actor
from accounts.http import Access, declare, enforce, find_member, sign_in_first
from accounts.roles import Permission
from accounts.selectors import find_actor
from studio.core.errors import NotFoundError
from studio.core.scoping import organization_scope
from workspaces.access import actor_within, get_workspace
from workspaces.models import Workspace
from workspaces.selectors import organization_of


class WorkspaceRequest(HttpRequest):
    """A request whose workspace and actor are known and allowed."""

    actor: Actor
    workspace: Workspace


def actor_in(user_id: str, workspace_id: str) -> Actor:
    """The user as a member of the workspace's organization.

    Raises:
        NotFoundError: no such workspace, or it is not theirs; the two cannot be told apart.
    """
    # Looked up for a workspace that is not there, too: it must cost the same as one of others.
    actor = find_actor(user_id, organization_of(workspace_id) or "")
    if actor is None:
        raise NotFoundError(noun="workspace")
    return actor


def workspace_page(permission: Permission) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A view under `/w/<workspace_id>/` that needs the permission there."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(
            request: WorkspaceRequest, workspace_id: str, *args: object, **kwargs: object
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return sign_in_first(request)
            # Looked up for a workspace that is not there, too: see `actor_in`.
            member = find_member(request, organization_of(workspace_id) or "")
            if member is None:
                raise NotFoundError(noun="workspace")
            with organization_scope(member.organization_id):
                request.workspace = get_workspace(member, workspace_id, permission=permission)
                request.actor = actor_within(member, request.workspace)
                refusal = enforce(request, request.workspace.organization)
                if refusal is not None:
                    return refusal
                answer: HttpResponseBase = view(request, *args, **kwargs)
                answer.headers.setdefault("Cache-Control", "no-store")  # prompts, signed addresses
                return answer

        return declare(wrapper, Access(kind="workspace", permission=permission))

    return decorate
