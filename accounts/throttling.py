"""How many requests the API takes from a token, or from an address without one.

Counted in Redis, for all processes together: this window's requests, and of the last window's
such a part as still lies within one window from now.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from typing_extensions import override

from accounts.actors import Actor
from studio.core.errors import TooManyRequestsError

if TYPE_CHECKING:  # the framework imports this module while it loads
    from rest_framework.views import APIView

_IPV6_PREFIX = 64  # what one subscriber has
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """`limit` requests within `period` seconds for the one called `name`."""

    name: str
    sender: str
    limit: int
    period: int


class RequestThrottle(BaseThrottle):
    """For the framework's own views; an `OrganizationView` counts earlier."""

    @override
    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count, or raise `TooManyRequestsError`."""
        count_request(of_sender(request))
        return True


def count_request(allowance: Allowance) -> None:
    """Count a request of the API.

    Without Redis nothing is counted and nobody is refused: pictures can be looked at meanwhile.

    Raises:
        TooManyRequestsError: it is one too many.
    """
    try:
        seconds = _seconds_to_wait(allowance, time.time())
    except (RedisError, ValueError) as error:  # ValueError: it was emptied just now
        logger.warning("requests are not counted: Redis did not answer (%s)", type(error).__name__)
        return
    if seconds:
        raise TooManyRequestsError(
            limit=allowance.limit,
            period=allowance.period,
            sender=allowance.sender,
            retry_after=seconds,
        )


def of_address(request: Request | HttpRequest) -> Allowance:
    """What an address may ask without a token."""
    limit, period = settings.API_RATE_ANONYMOUS
    name = _network(str(request.META.get("REMOTE_ADDR") or ""))
    return Allowance(name=name, sender="address", limit=limit, period=period)


def of_sender(request: Request) -> Allowance:
    """A token's own limit if it has one, else that of all tokens; without a token the address's."""
    actor = request.auth
    if not isinstance(actor, Actor):
        return of_address(request)
    limit, period = settings.API_RATE
    if actor.requests_per_minute:
        limit, period = actor.requests_per_minute, 60
    name = actor.token_id or actor.user_id
    return Allowance(name=name, sender="token", limit=limit, period=period)


def _seconds_to_wait(allowance: Allowance, now: float) -> int:
    """0 if the request is within the limit; it is then counted."""
    window, elapsed = divmod(now / allowance.period, 1)
    key = f"requests:{allowance.name}:{allowance.period}"
    current = _add_one(f"{key}:{window:.0f}", keep_seconds=2 * allowance.period)
    previous: int = cache.get(f"{key}:{window - 1:.0f}", 0)
    if current + previous * (1 - elapsed) <= allowance.limit:
        return 0
    cache.decr(f"{key}:{window:.0f}")  # what was refused was not used
    windows = _windows_to_wait(current, previous, elapsed, allowance.limit)
    return max(1, math.ceil(windows * allowance.period))


def _windows_to_wait(current: int, previous: int, elapsed: float, limit: int) -> float:
    """Until so much of the last window, or then of this one, is out of sight."""
    if current <= limit:
        return 1 - (limit - current) / previous - elapsed
    return 1 - elapsed + 1 - (limit - 1) / (current - 1)


def _add_one(key: str, *, keep_seconds: int) -> int:
    try:
        return cache.incr(key)
    except ValueError:  # the first of this window
        cache.add(key, 0, keep_seconds)
        return cache.incr(key)


def _network(address: str) -> str:
    """Of an IPv6 address, the part that its owner cannot change at will."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, IPv6Address):
        return str(IPv6Network((ip, _IPV6_PREFIX), strict=False).network_address)
    return str(ip)
