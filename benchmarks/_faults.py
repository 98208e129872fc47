"""Faults, done for real to the processes and servers of a benchmark's own studio."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import dramatiq
import psycopg
from dramatiq.brokers.redis import RedisBroker
from redis import Redis
from redis.exceptions import RedisError

from benchmarks._report import say
from benchmarks._store import Store
from benchmarks._studio import Studio
from launcher.process import send
from launcher.supervisor import Child

QUEUE = "gpu"
_HARMLESS = ("messages repeated", "messages delayed", "worker killed")
_WEIGHTS = {
    "agent killed": 8,
    "agent told to leave": 2,
    "agent paused": 1,
    "dispatcher killed": 3,
    "worker killed": 2,
    "web killed": 2,
    "broker emptied": 3,
    "broker killed": 1,
    "database restarted": 1,
    "database killed": 1,
    "store misbehaves": 3,
    "messages repeated": 5,
    "messages delayed": 4,
}
_ATTEMPTS = """
    SELECT id, fence, agent_id FROM jobs_jobattempt ORDER BY leased_at DESC LIMIT 12
"""

_BUSY = "SELECT agent_id FROM jobs_jobattempt WHERE status = 'running'"
_WARM = """
    SELECT id FROM jobs_agent WHERE is_ready AND last_seen_at > now() - interval '6 s'
"""
_AT_WORK_WITHIN_S = 1.5


@dataclass(frozen=True, slots=True)
class Death:
    """An agent that died, or stopped living, at a time (`time.time()`)."""

    kind: str
    agent_id: str
    at: float


@dataclass
class Faults:
    """Chooses and does them; the same seed, the same sequence."""

    studio: Studio
    store: Store
    agent_ids: dict[str, str]  # by the name of the process
    seed: int
    pause_s: float
    done: Counter[str] = field(default_factory=Counter)
    deaths: list[Death] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    _later: list[threading.Thread] = field(default_factory=list)
    _paused: str = ""

    def do(self, count: int, gap_s: float) -> None:
        """So many, about `gap_s` apart. One that finds nothing to hit is not counted."""
        choice = random.Random(self.seed)  # noqa: S311  # which process to kill
        kinds = {name: self._named(name) for name in _WEIGHTS}
        # Every kind once, in random order, then by weight.
        first = choice.sample(list(kinds), len(kinds))
        while (number := sum(self.done.values())) < count:
            kind = first[-1] if first else choice.choices([*kinds], [*_WEIGHTS.values()])[0]
            at = time.time()
            if not kinds[kind](choice):
                first = first[-1:] + first[:-1]
                time.sleep(0.1)
                continue
            first = first[:-1]
            self.done[kind] += 1
            if kind not in _HARMLESS:
                self.times.append(at)
            if (number + 1) % 20 == 0:
                say(f"{number + 1} faults")
            time.sleep(gap_s * choice.uniform(0.3, 1.7))

    def heal(self) -> None:
        """Let what is paused or held back go on."""
        self.store.heal()
        for thread in self._later:
            thread.join()

    def is_disturbed(self, death: Death, seconds: float) -> bool:
        """Whether something else was broken before the work of a dead agent went on."""
        return any(death.at + 0.01 < at < death.at + seconds for at in self.times)

    def _named(self, kind: str) -> Callable[[random.Random], bool]:
        one = {
            "agent killed": lambda c: self._end_agent(c, signal.SIGKILL, "agent killed"),
            "agent told to leave": lambda c: self._end_agent(c, signal.SIGTERM, ""),
            "agent paused": self._pause_agent,
            "broker emptied": self._empty_broker,
            "broker killed": lambda c: self._end_server(self.studio.servers.valkey),
            "database restarted": lambda c: self._end_server(
                self.studio.servers.postgres, signal.SIGINT
            ),
            "database killed": lambda c: self._end_server(self.studio.servers.postgres),
            "store misbehaves": self._spoil_store,
            "messages repeated": self._repeat_messages,
            "messages delayed": self._delay_messages,
        }
        if kind in one:
            return one[kind]
        name = kind.removesuffix(" killed")
        return lambda c: self._signal(name, signal.SIGKILL)

    # ------------------------------------------------------------------ processes

    def _child(self, name: str) -> Child | None:
        child = next(c for c in self.studio.supervisor.children if c.spec.name == name)
        return child if child.is_running() else None

    def _signal(self, name: str, number: signal.Signals) -> bool:
        child = self._child(name)
        if child is None or child.process is None:
            return False
        send(child.process.pid, number)
        return True

    def _agents(self) -> list[str]:
        return [n for n in self.agent_ids if n != self._paused and self._child(n) is not None]

    def _one_at_work(self, choice: random.Random) -> str | None:
        """An agent that computes, if one does within a moment; else any. Never the last one that
        lives: with nobody there is nothing to see but how fast this machine starts a process.
        """
        deadline = time.monotonic() + _AT_WORK_WITHIN_S
        while True:
            try:
                with psycopg.connect(self.studio.database_url, connect_timeout=2) as database:
                    database.execute("SELECT set_config('studio.organization', '*', false)")
                    warm = {row[0] for row in database.execute(_WARM)}
                    busy = {row[0] for row in database.execute(_BUSY)}
            except psycopg.Error:
                return None
            names = [name for name in self._agents() if self.agent_ids[name] in warm]
            if len(names) < 2:
                return None
            if working := [name for name in names if self.agent_ids[name] in busy]:
                return choice.choice(working)
            if time.monotonic() > deadline:
                return choice.choice(names)
            time.sleep(0.05)

    def _end_agent(self, choice: random.Random, number: signal.Signals, death: str) -> bool:
        name = self._one_at_work(choice)
        if name is None:
            return False
        at = time.time()
        if not self._signal(name, number):
            return False
        if death:
            self.deaths.append(Death(death, self.agent_ids[name], at))
        return True

    def _pause_agent(self, choice: random.Random) -> bool:
        """Longer than its lease: when it goes on, others have its work."""
        chosen = None if self._paused else self._one_at_work(choice)
        child = self._child(chosen) if chosen else None
        if child is None or child.process is None:
            return False
        process, name = child.process, child.spec.name
        self._paused = name
        self.deaths.append(Death("agent paused", self.agent_ids[name], time.time()))
        os.kill(process.pid, signal.SIGSTOP)

        def go_on() -> None:
            time.sleep(self.pause_s)
            if process.poll() is None:
                send(process.pid, signal.SIGCONT)
            self._paused = ""

        self._in_a_while(go_on)
        return True

    def _end_server(self, server: object, number: signal.Signals = signal.SIGKILL) -> bool:
        pid = getattr(server, "pid", lambda: None)()
        if pid is None:
            return False
        send(pid, number)
        return True

    # ------------------------------------------------------------------ store

    def _spoil_store(self, choice: random.Random) -> bool:
        mood = ("unavailable", "full", "stored but untold", "slow")[
            self.done["store misbehaves"] % 4
        ]
        self.store.misbehave(mood, choice.uniform(2.0, 8.0))
        return True

    # ------------------------------------------------------------------ messages

    def _redis(self) -> Redis:
        return Redis.from_url(self.studio.env["REDIS_URL"], socket_timeout=2)

    def _empty_broker(self, _choice: random.Random) -> bool:
        try:
            with self._redis() as redis:
                redis.flushall()
        except RedisError:
            return False
        return True

    def _repeat_messages(self, choice: random.Random) -> bool:
        """The latest attempts' messages once or twice more; one of them to the wrong agent."""
        try:
            with psycopg.connect(self.studio.database_url, connect_timeout=2) as database:
                database.execute("SELECT set_config('studio.organization', '*', false)")
                rows = database.execute(_ATTEMPTS).fetchall()
            for attempt_id, fence, agent_id in rows:
                for _ in range(choice.randint(1, 2)):
                    self._send(agent_id, attempt_id, fence)
            if rows:
                attempt_id, fence, _agent_id = rows[0]
                self._send(choice.choice([*self.agent_ids.values()]), attempt_id, fence)
        except (psycopg.Error, RedisError, dramatiq.errors.ConnectionError):
            return False
        return bool(rows)

    def _send(self, agent_id: str, attempt_id: str, fence: int) -> None:
        broker = RedisBroker(url=self.studio.env["REDIS_URL"], namespace=f"agent:{agent_id}")  # type: ignore[no-untyped-call]  # dramatiq does not annotate it
        broker.declare_queue(QUEUE)
        broker.enqueue(
            dramatiq.Message(
                queue_name=QUEUE,
                actor_name="run_attempt",
                args=(attempt_id, fence),
                kwargs={},
                options={},
            )
        )
        broker.close()

    def _delay_messages(self, choice: random.Random) -> bool:
        """For some seconds, take away what arrives for an agent; then put all of it back."""
        key = f"agent:{choice.choice([*self.agent_ids.values()])}:{QUEUE}"
        until = time.monotonic() + choice.uniform(1.0, 6.0)
        held: list[tuple[bytes, bytes]] = []

        def hold() -> None:
            while time.monotonic() < until:
                try:
                    with self._redis() as redis:
                        self._take_all(redis, key, held)
                except RedisError:
                    pass
                time.sleep(0.01)
            for message_id, body in held:
                try:
                    with self._redis() as redis:
                        redis.hset(f"{key}.msgs", message_id, body)
                        redis.rpush(key, message_id)
                except RedisError:
                    pass  # lost: the studio is to send it again

        self._in_a_while(hold)
        return True

    @staticmethod
    def _take_all(redis: Redis, key: str, held: list[tuple[bytes, bytes]]) -> None:
        while isinstance(message_id := redis.lpop(key), bytes):
            body = redis.hget(f"{key}.msgs", message_id)
            if isinstance(body, bytes):
                held.append((message_id, body))

    def _in_a_while(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="later", daemon=True)
        thread.start()
        self._later.append(thread)
