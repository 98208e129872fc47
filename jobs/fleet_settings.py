"""What the fleet's pages of models, sharing and joining are given. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuagent.protocol.taxonomy import MODELS
from jobs.fleet_state import read_fleet
from jobs.models import ModelPin, OrganizationShare
from jobs.scheduling import Tier
from jobs.services.fleet_joining import can_join, newest_join_tokens
from jobs.services.fleet_policy import DEFAULTS, current_policy, policy_seen
from jobs.services.fleet_shares import all_shares
from library.models import ModelVersion
from library.selectors import usable_versions

TAKES_WORK = ("working", "idle", "loading")


def models_context(wrong: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Models that the organization's scope sees: pinned ones first, then by name."""
    pins = {pin.model_version_id: pin for pin in ModelPin.objects.all()}
    newest = [version for kind in sorted(MODELS) for version in usable_versions(kind)]
    older = ModelVersion.objects.select_related("asset").filter(
        pk__in=set(pins) - {version.pk for version in newest}
    )
    lines = read_fleet(with_runs=False).agents
    rows = []
    for version in [*older, *newest]:
        pin = pins.get(version.pk)
        warm = [line.agent.name for line in lines if version.digest in line.agent.warm]
        able = [
            line for line in lines if not pin or not pin.label or pin.label in line.agent.labels
        ]
        held = sum(
            line.condition in TAKES_WORK and version.digest in line.agent.warm for line in able
        )
        is_wrong = wrong is not None and wrong["id"] == version.pk
        values = wrong["values"] if wrong and is_wrong else _pin_values(pin)
        rows.append(
            {
                "id": version.pk,
                "name": version.asset.name,
                "number": version.number,
                "is_public": version.asset.organization_id is None,
                "bytes": version.weights_bytes,
                "warm": warm,
                "pin": pin,
                "held": held,
                "is_short": pin is not None and held < pin.agents,
                "nobody_has": pin.label if pin is not None and not able else "",
                "values": values,
                "errors": wrong["errors"] if wrong and is_wrong else {},
            }
        )
    rows.sort(key=lambda row: (row["pin"] is None, row["name"].casefold(), -row["number"]))
    return {"models": rows}


def _pin_values(pin: ModelPin | None) -> dict[str, object]:
    return {"agents": pin.agents if pin else 1, "label": pin.label if pin else ""}


def sharing_context(
    *,
    errors: Mapping[str, str],
    values: Mapping[str, Any] | None,
    wrong: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The policy with the defaults beside it, and each organization's part."""
    policy = current_policy()
    return {
        "reserves": _reserve_fields(policy.reserved_shares, errors, values),
        "numbers": {
            name: {
                "value": values.get(name, "") if values else _written(getattr(policy, name)),
                "default": f"{DEFAULTS[name]:g}",
                "error": errors.get(name, ""),
            }
            for name in ("floor_agents", "floor_seconds", "window_seconds")
        },
        "seen": policy_seen(policy),
        "errors": errors,
        "shares": [_share_row(one.pk, one.name, share, wrong) for one, share in all_shares()],
    }


def _reserve_fields(
    saved: Mapping[str, float], errors: Mapping[str, str], values: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """A field for each tier, in parts of a hundred."""
    defaults: Mapping[Tier, float] = DEFAULTS["tier_reserves"]
    found = []
    for tier in Tier:
        key = f"reserved_shares.{tier.value}"
        value = saved.get(tier.value)
        shown = _written(None if value is None else value * 100)
        found.append(
            {
                "key": key,
                "name": tier.value.capitalize(),
                "value": values.get(key, "") if values else shown,
                "default": f"{defaults.get(tier, 0.0) * 100:g}",
                "error": errors.get(key.replace(".", "_"), ""),
            }
        )
    return found


def _share_row(
    organization_id: str, name: str, share: OrganizationShare, wrong: Mapping[str, Any] | None
) -> dict[str, Any]:
    is_wrong = wrong is not None and wrong["id"] == organization_id
    saved = {
        "weight": _written(share.weight),
        "jobs_at_once": _written(share.jobs_at_once),
        "jobs_at_once_per_member": _written(share.jobs_at_once_per_member),
    }
    return {
        "id": organization_id,
        "name": name,
        "values": wrong["values"] if wrong and is_wrong else saved,
        "errors": wrong["errors"] if wrong and is_wrong else {},
    }


def joining_context() -> dict[str, Any]:
    """Join tokens: those that let somebody in first."""
    return {
        "tokens": [
            {
                "id": token.pk,
                "labels": token.labels,
                "uses_left": token.uses_left,
                "made_by": token.created_by.shown_name if token.created_by else "",
                "created_at": token.created_at,
                "expires_at": token.expires_at,
                "is_live": can_join(token),
                "is_revoked": token.revoked_at is not None,
            }
            for token in newest_join_tokens()
        ]
    }


def _written(number: float | None) -> str:
    return "" if number is None else f"{number:g}"
