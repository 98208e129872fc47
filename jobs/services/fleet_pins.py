"""Models that are to stay warm, and on which agents."""

from __future__ import annotations

import hashlib

from django.db import transaction

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from gpuagent.protocol.taxonomy import MODELS
from jobs.models import Agent, JobAttempt, ModelPin
from jobs.selectors import accepting_agents
from jobs.services.fleet_policy import touch_policy
from jobs.services.fleet_reports import bad_labels
from jobs.services.leasing import OPEN
from library.models import ModelVersion
from studio.core.errors import InvalidInputError, NotFoundError
from studio.core.scoping import system_scope

AGENTS_MAX = 1_000


@transaction.atomic
def pin_model(*, actor: Actor, version_id: str, agents: int, label: str = "") -> ModelPin:
    """Keep a model warm on so many agents, of those with the label if one is given.

    Only models that the actor's organization sees can be pinned; pinning again changes the pin.

    Raises:
        NotFoundError: there is no such model.
        InvalidInputError: the number or the label cannot be.
    """
    actor.require(Permission.FLEET_MANAGE)
    models = ModelVersion.objects.filter(asset__kind__in=MODELS)
    version = models.filter(pk=version_id).first()
    if version is None:
        raise NotFoundError(noun="model")
    problems = []
    if not 1 <= agents <= AGENTS_MAX:
        message = f"Choose 1 to {AGENTS_MAX:,} agents, not {agents}."
        problems.append(_problem("agents", "out_of_range", message, agents, AGENTS_MAX))
    label = label.strip().lower()
    if label and bad_labels([label]):
        message = f"{label[:40]!r} is no label: small letters, digits and . _ : - are taken."
        problems.append(_problem("label", "not_a_label", message, label[:40]))
    if problems:
        raise InvalidInputError(problems)
    pin, _made = ModelPin.objects.update_or_create(
        model_version=version, defaults={"agents": agents, "label": label}
    )
    touch_policy()
    record_event(actor, "model.pinned", version.pk, {"agents": agents, "label": label})
    return pin


@transaction.atomic
def unpin_model(*, actor: Actor, version_id: str) -> bool:
    """Keep it warm no more; False if it was not pinned."""
    actor.require(Permission.FLEET_MANAGE)
    if ModelVersion.objects.filter(pk=version_id).first() is None:
        raise NotFoundError(noun="model")
    gone, _rows = ModelPin.objects.filter(model_version_id=version_id).delete()
    if gone:
        touch_policy()
        record_event(actor, "model.unpinned", version_id)
    return bool(gone)


def pinned_to(agent: Agent) -> list[ModelVersion]:
    """The models that are to be warm on this agent, of all that take work.

    Who holds a model keeps it; else who is idle comes first, since nobody loads for a pin while it
    works; else an order that depends on names alone chooses, so that all agents are told the same
    and an agent's coming or going moves few models.
    """
    pins = list(ModelPin.objects.all())
    if not pins:
        return []
    with system_scope():
        wanted = ModelVersion.objects.select_related("asset").in_bulk(
            [pin.model_version_id for pin in pins]
        )
        busy = set(JobAttempt.objects.filter(status__in=OPEN).values_list("agent_id", flat=True))
    agents = list(accepting_agents())
    found = []
    for pin in sorted(pins, key=lambda pin: pin.model_version_id):
        version = wanted.get(pin.model_version_id)
        if version is None:
            continue
        fitting = [one for one in agents if _can_hold(one, pin, version)]
        fitting.sort(
            key=lambda one: (version.digest not in one.warm, one.pk in busy, _rank(one, version))
        )
        if agent.pk in {one.pk for one in fitting[: pin.agents]}:
            found.append(version)
    return found


def _can_hold(agent: Agent, pin: ModelPin, version: ModelVersion) -> bool:
    has_label = not pin.label or pin.label in agent.labels
    return has_label and version.weights_bytes <= agent.memory_bytes


def _rank(agent: Agent, version: ModelVersion) -> str:
    return hashlib.sha256(f"{agent.pk} {version.digest}".encode()).hexdigest()


def _problem(
    field: str, code: str, message: str, value: object, limit: object = None
) -> FieldProblem:
    return FieldProblem(field=field, code=code, message=message, value=value, limit=limit)


def visible_pins() -> list[ModelPin]:
    """Pins of models that the organization in scope sees, in a steady order."""
    seen = ModelVersion.objects.filter(pk__in=ModelPin.objects.values("pk"))
    pins = ModelPin.objects.filter(pk__in=list(seen.values_list("pk", flat=True)))
    return list(pins.select_related("model_version__asset").order_by("pk"))
