"""Agents' way into Redis: a user each, that can reach its own queue and nothing else.

Nothing of it is stored. The password is derived from the agent's token and the studio's secret, so
whoever emptied or restarted Redis lost nothing: the agent that is refused asks again
(`POST /agent/v1/queue`), and its user is made anew. A new token is a new password.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, urlsplit, urlunsplit

import redis
from django.conf import settings
from django.utils.crypto import salted_hmac
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.models import Agent
from studio.core.errors import RedisAwayError, StudioError
from studio.core.queue import broker

# What dramatiq's `dispatch.lua` calls when it fetches, acknowledges, refuses and gives back, and
# what the agent's own consumer waits with. `evalsha` without `script load` or `eval`: the agent
# runs dramatiq's script, which the web side has put there, and none of its own. No `keys`: it
# shows everybody's names, so maintenance of a queue is the web side's (see `WaitingBroker`).
COMMANDS = (
    *("evalsha", "blmove", "lpop", "rpush", "sadd", "srem", "zadd"),
    *("hget", "hset", "hdel", "hexists", "hmget", "ping", "client|setinfo"),
)
_TIMEOUT_SECONDS = 2


class UsersRefusedError(StudioError):
    """Redis does not let the studio make users."""

    code = "redis.users_refused"
    status = 503
    template = (
        "Redis does not let the studio make a user for an agent ({reason}). Give the user in "
        "REDIS_URL the right to ACL SETUSER, or set STUDIO_AGENT_REDIS_URL to an address with a "
        "user and a password for agents."
    )


def grant(agent: Agent) -> str:
    """Let the agent reach its queue; the address it connects to, with its password.

    Raises:
        RedisAwayError: Redis does not answer.
        UsersRefusedError: it answers, but makes no users.
    """
    address = _address()
    if urlsplit(address).password:  # users are the operators' business
        return address
    password = _password(agent)
    wanted = hashlib.sha256(password.encode()).hexdigest()
    with _client() as client:
        known = _ask(client, "ACL", "GETUSER", agent.pk)
        if known and not _has_password(known, wanted):
            _ask(client, "ACL", "DELUSER", agent.pk)  # cuts connections, which SETUSER does not
        _ask(client, "ACL", "SETUSER", agent.pk, *_rules(agent, wanted))
        for script in broker(agent.namespace).scripts.values():
            _ask(client, "SCRIPT", "LOAD", script.script)
    return _with_user(address, agent.pk, password)


def revoke(agent: Agent) -> None:
    """Take the way away; open connections are cut."""
    if urlsplit(_address()).password:
        return
    with _client() as client:
        _ask(client, "ACL", "DELUSER", agent.pk)


def _address() -> str:
    """Where agents find Redis: without our own user, password and options, which name our files."""
    if settings.AGENT_REDIS_URL:
        return settings.AGENT_REDIS_URL
    parts = urlsplit(settings.REDIS_URL)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _rules(agent: Agent, password_hash: str) -> list[str]:
    mine = agent.namespace
    allowed = [f"+{command}" for command in COMMANDS]
    if urlsplit(_address()).path.strip("/") not in ("", "0"):
        allowed.append("+select")
    keys = [f"~{mine}", f"~{mine}:*"]
    return ["reset", "on", f"#{password_hash}", *keys, "resetchannels", "-@all", *allowed]


def _password(agent: Agent) -> str:
    value = f"{agent.pk}:{agent.token_hash}"
    return salted_hmac("jobs.agent_access", value, algorithm="sha256").hexdigest()


def _has_password(known: object, wanted: str) -> bool:
    return wanted in str(known)


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )


def _ask(client: redis.Redis, *words: object) -> object:
    try:
        answer: object = client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py's is not annotated
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise RedisAwayError from error
    except redis.ResponseError as error:
        raise UsersRefusedError(reason=str(error).split(" ", 1)[0]) from error
    return answer


def _with_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{password}@{place}"))
