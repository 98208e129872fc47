"""Looking for canaries: everything that lies in Postgres and in Redis, as text."""

from __future__ import annotations

from django.db import connection
from redis import Redis

from studio.core.scoping import system_scope


def all_columns() -> str:
    """Every value of every table, of all organizations; byte columns in hex."""
    with system_scope(), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        rows: list[str] = []
        for table in tables:
            cursor.execute(f'SELECT row_to_json(t)::text FROM "{table}" t')  # noqa: S608  # names from the catalog
            rows += [row for (row,) in cursor.fetchall()]
    return "\n".join(rows)


def all_of_redis(redis: Redis) -> str:
    """Every key and every value, whatever its type."""
    found: list[object] = []
    for key in redis.scan_iter("*"):
        kind = redis.type(key)
        found += [key, kind]
        if kind == b"string":
            found.append(redis.get(key))
        elif kind == b"hash":
            found.append(redis.hgetall(key))
        elif kind == b"list":
            found.append(redis.lrange(key, 0, -1))
        elif kind == b"set":
            found.append(redis.smembers(key))
        elif kind == b"zset":
            found.append(redis.zrange(key, 0, -1))
        else:
            raise AssertionError(f"a kind of value that nobody looks into: {kind!r}")
    return repr(found)
