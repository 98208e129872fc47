"""Teams: members who are let into workspaces together."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from accounts.actors import Actor
from accounts.models import Membership, Team, TeamMember
from accounts.names import name_problems
from accounts.roles import Permission
from accounts.services.audit import record_event
from accounts.services.members import lock_organization
from gpuagent.protocol.recipe import FieldProblem
from studio.core.errors import InvalidInputError, NotFoundError

NAME_MAX = 80


def get_team(actor: Actor, team_id: str, *, permission: Permission) -> Team:
    """A team of the actor's organization.

    Raises:
        ForbiddenError: this is not for them to do.
        NotFoundError: there is no such team.
    """
    actor.require(permission)
    team = Team.objects.filter(pk=team_id).first()
    if team is None:
        raise NotFoundError(noun="team")
    return team


@transaction.atomic
def create_team(*, actor: Actor, name: str, user_ids: Iterable[str] = ()) -> Team:
    """A team with these members.

    Raises:
        InvalidInputError: the name is taken or cannot be, or somebody is no member.
    """
    actor.require(Permission.TEAM_MANAGE)
    lock_organization(actor.organization_id)
    name = _checked_name(name)
    team = Team.objects.create(organization_id=actor.organization_id, name=name)
    record_event(actor, "team.created", team.pk)
    _set_members(actor, team, set(user_ids))
    return team


@transaction.atomic
def change_team(
    *, actor: Actor, team_id: str, name: str | None = None, user_ids: Iterable[str] | None = None
) -> Team:
    """Give the team another name, other members, or both; None leaves as it is.

    Raises:
        NotFoundError: there is no such team.
        InvalidInputError: the name is taken or cannot be, or somebody is no member.
    """
    actor.require(Permission.TEAM_MANAGE)
    lock_organization(actor.organization_id)
    team = get_team(actor, team_id, permission=Permission.TEAM_MANAGE)
    if name is not None and name.strip() != team.name:
        team.name = _checked_name(name, but=team)
        team.save(update_fields=["name"])
        record_event(actor, "team.renamed", team.pk)
    if user_ids is not None:
        _set_members(actor, team, set(user_ids))
    return team


@transaction.atomic
def delete_team(*, actor: Actor, team_id: str) -> None:
    """Delete the team; what was granted to it goes, too.

    Raises:
        NotFoundError: there is no such team.
    """
    actor.require(Permission.TEAM_MANAGE)
    lock_organization(actor.organization_id)
    team = get_team(actor, team_id, permission=Permission.TEAM_MANAGE)
    count = TeamMember.objects.filter(team=team).count()
    team.delete()
    record_event(actor, "team.deleted", team_id, {"members": count})


def _set_members(actor: Actor, team: Team, user_ids: set[str]) -> None:
    memberships = {
        m.user_id: m
        for m in Membership.objects.filter(
            organization_id=actor.organization_id, user_id__in=user_ids, user__is_active=True
        )
    }
    unknown = sorted(user_ids - memberships.keys())
    if unknown:
        message = f"{unknown[0][:30]} is no active member of the organization."
        problem = FieldProblem(
            field="members", code="unknown", message=message, value=unknown[0][:30]
        )
        raise InvalidInputError([problem])
    rows = TeamMember.objects.filter(team=team)
    before = set(rows.values_list("membership__user_id", flat=True))
    added, removed = sorted(user_ids - before), sorted(before - user_ids)
    if not added and not removed:
        return
    rows.filter(membership__user_id__in=removed).delete()
    for user_id in added:
        TeamMember.objects.create(
            organization_id=actor.organization_id, team=team, membership=memberships[user_id]
        )
    details = {"added": added, "removed": removed}
    record_event(actor, "team.members_changed", team.pk, details)


def _checked_name(name: str, *, but: Team | None = None) -> str:
    name = name.strip()
    problems = name_problems(name, NAME_MAX)
    if not problems and Team.objects.filter(name__iexact=name).exclude(pk=but and but.pk).exists():
        message = "There is a team of this name already. Choose another."
        problems = [FieldProblem(field="name", code="taken", message=message)]
    if problems:
        raise InvalidInputError(problems)
    return name
