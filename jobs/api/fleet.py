"""The fleet over the API, for operators: how it is, its agents, and what is set."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import Permission
from gpuagent.protocol.recipe import FieldProblem
from jobs.api import fleet_shapes as shapes
from jobs.api.common import BEFORE, strings_of
from jobs.fleet_state import AgentLine, read_fleet
from jobs.services.fleet_agents import get_agent, remove_agent, set_labels, set_state
from jobs.services.fleet_events import newest_events
from jobs.services.fleet_joining import (
    create_join_token,
    join_command,
    newest_join_tokens,
    revoke_join_token,
)
from jobs.services.fleet_pins import pin_model, unpin_model, visible_pins
from jobs.services.fleet_policy import change_policy, current_policy
from jobs.services.fleet_shares import all_shares, set_share
from studio.core.errors import InvalidInputError, NotFoundError
from studio.core.openapi import BAD_INPUT, ERRORS, PROBLEM
from studio.core.parsing import json_object
from workspaces.api import OrganizationView

EVENTS_LISTED = 100
_SEE, _MANAGE = Permission.FLEET_VIEW, Permission.FLEET_MANAGE


class FleetView(OrganizationView):
    """The fleet."""

    permissions = {"GET": _SEE}

    @extend_schema(operation_id="get_fleet", responses={200: shapes.FleetSerializer, **ERRORS})
    def get(self, request: Request) -> Response:
        """Queue, predicted waits, waits that were, and how many agents are in which condition."""
        return Response(shapes.fleet_json(read_fleet()))


class FleetAgentsView(OrganizationView):
    """Agents."""

    permissions = {"GET": _SEE}

    @extend_schema(
        operation_id="list_fleet_agents",
        responses={200: shapes.FleetAgentSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Every agent by name, with what it holds."""
        return Response([shapes.agent_json(line) for line in read_fleet().agents])


class FleetAgentView(OrganizationView):
    """One agent."""

    permissions = {"GET": _SEE, "PATCH": _MANAGE, "DELETE": _MANAGE}

    @extend_schema(
        operation_id="get_fleet_agent", responses={200: shapes.FleetAgentSerializer, **ERRORS}
    )
    def get(self, request: Request, agent_id: str) -> Response:
        """The agent as it is now."""
        get_agent(self.actor, agent_id, permission=_SEE)
        return Response(shapes.agent_json(_line(agent_id)))

    @extend_schema(
        operation_id="change_fleet_agent",
        request=shapes.AgentChangesSerializer,
        responses={200: shapes.FleetAgentSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, agent_id: str) -> Response:
        """Drain it, put it into maintenance or back, give it other labels."""
        get_agent(self.actor, agent_id, permission=_MANAGE)
        body = _known(json_object(request), {"state": str, "labels": list})
        with transaction.atomic():  # both or none
            if "labels" in body:
                labels = strings_of(body, "labels")
                set_labels(actor=self.actor, agent_id=agent_id, labels=labels)
            if "state" in body:
                set_state(actor=self.actor, agent_id=agent_id, state=body["state"])
        return Response(shapes.agent_json(_line(agent_id)))

    @extend_schema(
        operation_id="remove_fleet_agent",
        request=None,
        responses={204: None, **ERRORS, 409: PROBLEM},
    )
    def delete(self, request: Request, agent_id: str) -> Response:
        """Take it out for good; one that still works is refused."""
        remove_agent(actor=self.actor, agent_id=agent_id)
        return Response(status=204)


class FleetEventsView(OrganizationView):
    """History."""

    permissions = {"GET": _SEE}

    @extend_schema(
        operation_id="list_fleet_events",
        parameters=[BEFORE],
        responses={200: shapes.FleetEventSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """What happened to agents, newest first; `before` is the id of the last one seen."""
        events = newest_events(EVENTS_LISTED, before=request.GET.get("before", ""))
        return Response([shapes.event_json(each) for each in events])


class FleetPinsView(OrganizationView):
    """Pinned models."""

    permissions = {"GET": _SEE}

    @extend_schema(
        operation_id="list_fleet_pins", responses={200: shapes.PinSerializer(many=True), **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """Models that are kept warm, of those that the organization sees."""
        return Response([shapes.pin_json(pin) for pin in visible_pins()])


class FleetPinView(OrganizationView):
    """One pin."""

    permissions = {"PUT": _MANAGE, "DELETE": _MANAGE}

    @extend_schema(
        operation_id="put_fleet_pin",
        request=shapes.NewPinSerializer,
        responses={200: shapes.PinSerializer, **BAD_INPUT},
    )
    def put(self, request: Request, version_id: str) -> Response:
        """Keep a model warm; pinned already: on so many agents from now on."""
        body = _known(json_object(request), {"agents": int, "label": str})
        pin = pin_model(
            actor=self.actor,
            version_id=version_id,
            agents=body.get("agents", 1),
            label=body.get("label", ""),
        )
        return Response(shapes.pin_json(pin))

    @extend_schema(operation_id="delete_fleet_pin", request=None, responses={204: None, **ERRORS})
    def delete(self, request: Request, version_id: str) -> Response:
        """Keep it warm no more; again: no change."""
        unpin_model(actor=self.actor, version_id=version_id)
        return Response(status=204)


class FleetSharesView(OrganizationView):
    """Parts of organizations."""

    permissions = {"GET": _SEE}

    @extend_schema(
        operation_id="list_fleet_shares",
        responses={200: shapes.FleetShareSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Every organization of the installation with its weight and limits."""
        return Response([shapes.share_json(each.name, share) for each, share in all_shares()])


class FleetShareView(OrganizationView):
    """One organization's part."""

    permissions = {"PATCH": _MANAGE}

    @extend_schema(
        operation_id="change_fleet_share",
        request=shapes.ShareChangesSerializer,
        responses={200: shapes.FleetShareSerializer, **BAD_INPUT},
    )
    def patch(self, request: Request, customer_id: str) -> Response:
        """Set the weight or a limit; what is left out stays."""
        given = json_object(request)
        share = set_share(actor=self.actor, organization_id=customer_id, given=given)
        return Response(shapes.share_json(share.organization.name, share))


class FleetPolicyView(OrganizationView):
    """What the scheduler goes by."""

    permissions = {"GET": _SEE, "PATCH": _MANAGE}

    @extend_schema(
        operation_id="get_fleet_policy", responses={200: shapes.FleetPolicySerializer, **ERRORS}
    )
    def get(self, request: Request) -> Response:
        """What operators have set."""
        return Response(shapes.policy_json(current_policy()))

    @extend_schema(
        operation_id="change_fleet_policy",
        request=shapes.FleetPolicySerializer,
        responses={200: shapes.FleetPolicySerializer, **BAD_INPUT},
    )
    def patch(self, request: Request) -> Response:
        """Set what is given; null, or a tier left out of a mapping, takes the default back."""
        policy = change_policy(actor=self.actor, given=json_object(request))
        return Response(shapes.policy_json(policy))


class FleetJoinTokensView(OrganizationView):
    """Join tokens."""

    permissions = {"GET": _SEE, "POST": _MANAGE}

    @extend_schema(
        operation_id="list_join_tokens",
        responses={200: shapes.JoinTokenSerializer(many=True), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """The newest hundred, without their texts; those that let somebody in come first."""
        return Response([shapes.join_token_json(token) for token in newest_join_tokens()])

    @extend_schema(
        operation_id="create_join_token",
        request=shapes.NewJoinTokenSerializer,
        responses={201: shapes.MadeJoinTokenSerializer, **BAD_INPUT},
    )
    def post(self, request: Request) -> Response:
        """A new one; its text and the command with it are told this once."""
        body = _known(json_object(request), {"labels": list, "uses": int, "hours": int})
        token, plain = create_join_token(
            actor=self.actor,
            labels=strings_of(body, "labels"),
            **{name: body[name] for name in ("uses", "hours") if name in body},
        )
        told = {"token": plain, "command": join_command(plain)}
        return Response({**shapes.join_token_json(token), **told}, status=201)


class FleetJoinTokenView(OrganizationView):
    """One join token."""

    permissions = {"DELETE": _MANAGE}

    @extend_schema(operation_id="revoke_join_token", request=None, responses={204: None, **ERRORS})
    def delete(self, request: Request, join_id: str) -> Response:
        """Revoke it; again: no change. Who has joined with it stays."""
        revoke_join_token(actor=self.actor, join_id=join_id)
        return Response(status=204)


def _line(agent_id: str) -> AgentLine:
    for line in read_fleet().agents:
        if line.agent.pk == agent_id:
            return line
    raise NotFoundError(noun="agent")


def _known(body: dict[str, Any], kinds: dict[str, type]) -> dict[str, Any]:
    """The body, if it has no field but these, each of its kind.

    Raises:
        InvalidInputError: every wrong field is named.
    """
    words = {str: "a text", int: "a whole number", list: "a list of texts"}
    problems = []
    for name, value in body.items():
        if name not in kinds:
            message = f"There is no field {name[:40]!r} here."
            problems.append(FieldProblem(field=name, code="unknown", message=message))
        elif not isinstance(value, kinds[name]) or isinstance(value, bool):
            message = f"{name} must be {words[kinds[name]]}."
            problems.append(FieldProblem(field=name, code="type", message=message))
    if problems:
        raise InvalidInputError(problems)
    return body
