"""What operators tell the scheduler: reserves, the floor, the window, parts of organizations."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.actors import Actor
from accounts.roles import Permission
from accounts.services.audit import record_event
from gpuagent.protocol.recipe import FieldProblem
from jobs.costs import load_seconds
from jobs.models import FleetPolicy, ModelPin, OrganizationShare
from jobs.scheduling import Policy, Tier
from library.models import ModelVersion
from studio.core.errors import InvalidInputError
from studio.core.scoping import system_scope

WEIGHT_MIN, WEIGHT_MAX = 0.01, 1_000.0
FLOOR_AGENTS_MAX = 1_000
SECONDS_MAX = 3_600.0
# Together at most this, so that something is left for the most urgent.
RESERVES_MAX = 0.9
# What the scheduler of this release can be told; another may know more.
KNOWN = frozenset(each.name for each in fields(Policy))
DEFAULTS: Mapping[str, Any] = {
    each.name: each.default_factory() if each.default_factory is not MISSING else each.default
    for each in fields(Policy)
}
logger = logging.getLogger(__name__)


def current_policy() -> FleetPolicy:
    """The one row; not saved while nobody has set anything."""
    return FleetPolicy.objects.filter(pk=1).first() or FleetPolicy(pk=1)


def touch_policy() -> None:
    """Let the dispatcher read anew: something beside the row itself has changed."""
    FleetPolicy.objects.update_or_create(pk=1, defaults={"updated_at": timezone.now()})


def policy_version() -> datetime | None:
    """Changes whenever `load_policy` may answer something else."""
    return FleetPolicy.objects.filter(pk=1).values_list("updated_at", flat=True).first()


def policy_seen(row: FleetPolicy) -> str:
    """Tells whether somebody else has changed the settings since they were read."""
    values = [getattr(row, name) for name in _CHECKS]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@transaction.atomic
def change_policy(*, actor: Actor, given: Mapping[str, Any], seen: str = "") -> FleetPolicy:
    """Set reserves, the floor, the window; what is left out stays, null takes the default back.

    `seen` is what `policy_seen` said of the settings that the actor had in front of them, if they
    set all of them at once: what another operator saved meanwhile is not undone by chance.

    Raises:
        InvalidInputError: every wrong field is named; nothing was changed.
    """
    actor.require(Permission.FLEET_MANAGE)
    FleetPolicy.objects.get_or_create(pk=1)
    row = FleetPolicy.objects.select_for_update().get(pk=1)
    problems: list[FieldProblem] = []
    if seen and seen != policy_seen(row):
        message = (
            "Another operator has changed these settings since you opened the page. Yours are "
            "below and not saved: look at theirs in another tab, then save again to replace them."
        )
        problems.append(_problem("seen", "changed_meanwhile", message))
    for name, value in given.items():
        check = _CHECKS.get(name)
        if check is None:
            problems.append(_problem(name, "unknown", f"There is no setting {name!r} here."))
        else:
            setattr(row, name, check(name, value, problems))
    if problems:
        raise InvalidInputError(problems)
    row.save()
    record_event(actor, "fleet_policy.changed", "fleet", dict(given))
    return row


def load_policy() -> Policy:
    """The scheduler's policy as operators have set it; its own defaults where they have not.

    A row that cannot be (of another release, or changed by hand) must not stop the queue.
    """
    try:
        return Policy(**policy_values(KNOWN))
    except (ValueError, TypeError, KeyError) as error:
        logger.error("the policy cannot be used (%s); the defaults hold", type(error).__name__)
        return Policy()


def policy_values(known: Collection[str]) -> dict[str, Any]:
    """What operators have set, under the names that this scheduler knows."""
    row = current_policy()
    with system_scope():
        shares = list(OrganizationShare.objects.all())
        keep_warm, keep_warm_labels = _keep_warm()
    values: dict[str, Any] = {
        "organization_weights": {s.organization_id: s.weight for s in shares if s.weight != 1.0},
        "organization_caps": _caps(shares, "jobs_at_once"),
        "member_caps": _caps(shares, "jobs_at_once_per_member"),
        "keep_warm": keep_warm,
        "keep_warm_labels": keep_warm_labels,
        "swap_seconds": load_seconds(),
    }
    for name in ("floor_agents", "floor_seconds", "window_seconds"):
        if (number := getattr(row, name)) is not None:
            values[name] = number
    if row.reserved_shares:
        values["tier_reserves"] = {**DEFAULTS["tier_reserves"], **_by_tier(row.reserved_shares)}
    return {name: value for name, value in values.items() if name in known}


def _caps(shares: list[OrganizationShare], column: str) -> dict[str, int]:
    found = {share.organization_id: getattr(share, column) for share in shares}
    return {organization: cap for organization, cap in found.items() if cap is not None}


def _keep_warm() -> tuple[dict[str, int], dict[str, str]]:
    """By digest: on how many agents a model is pinned, and with which label if one is asked for."""
    pins = ModelPin.objects.in_bulk()
    versions = ModelVersion.objects.filter(pk__in=pins).values_list("pk", "digest")
    digests = {digest: pins[pk] for pk, digest in versions}
    labels = {digest: pin.label for digest, pin in digests.items() if pin.label}
    return {digest: pin.agents for digest, pin in digests.items()}, labels


def _by_tier(raw: Mapping[str, float]) -> dict[Tier, float]:
    names = {tier.value for tier in Tier}
    return {Tier(name): float(value) for name, value in raw.items() if name in names}


def _check_reserves(name: str, value: object, problems: list[FieldProblem]) -> dict[str, float]:
    read = _numbers(name, value, problems, low=0.0, high=RESERVES_MAX)
    total = sum({**DEFAULTS["tier_reserves"], **read}.values())
    if total > RESERVES_MAX + 1e-9:
        message = (
            f"The reserves add up to {total:.0%}; at most {RESERVES_MAX:.0%} can be reserved, so "
            "that something is left for the most urgent. Lower one."
        )
        problems.append(_problem(name, "too_much", message, round(total, 4), RESERVES_MAX))
    return read


def _numbers(
    name: str, value: object, problems: list[FieldProblem], *, low: float, high: float
) -> dict[str, float]:
    """A number for each tier that is named; null leaves the tier to its default."""
    if not isinstance(value, Mapping):
        problems.append(_problem(name, "not_an_object", f"{name} must name tiers with numbers."))
        return {}
    read = {}
    for key, number in value.items():
        where = f"{name}.{key}"
        if key not in {tier.value for tier in Tier}:
            problems.append(_problem(where, "unknown_tier", f"There is no tier {str(key)[:40]!r}."))
        elif number is not None:
            found = _number(where, number, problems, low=low, high=high)
            if found is not None:
                read[str(key)] = found
    return read


def _check_agents(name: str, value: object, problems: list[FieldProblem]) -> int | None:
    if value is None:
        return None
    number = _number(name, value, problems, low=0, high=FLOOR_AGENTS_MAX)
    if number is not None and number != int(number):
        problems.append(_problem(name, "not_whole", f"{name} must be a whole number.", number))
    return None if number is None else int(number)


def _check_seconds(name: str, value: object, problems: list[FieldProblem]) -> float | None:
    if value is None:
        return None
    return _number(name, value, problems, low=1.0, high=SECONDS_MAX)


def _number(
    name: str, value: object, problems: list[FieldProblem], *, low: float, high: float
) -> float | None:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= SECONDS_MAX:
        number = float(value)
    if low <= number <= high:
        return number
    message = f"This must be a number from {low:g} to {high:g}."
    problems.append(_problem(name, "out_of_range", message, str(value)[:40], high))
    return None


def _problem(
    name: str, code: str, message: str, value: object = None, limit: object = None
) -> FieldProblem:
    return FieldProblem(field=name, code=code, message=message, value=value, limit=limit)


_CHECKS = {
    "reserved_shares": _check_reserves,
    "floor_agents": _check_agents,
    "floor_seconds": _check_seconds,
    "window_seconds": _check_seconds,
}
