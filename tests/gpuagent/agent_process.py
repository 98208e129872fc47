"""The real agent process, for the tests to drive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ulid import ULID

from .support import HOUSE, ROOT, TOKEN, Attempt, FakeStudio, Valkey, wait_until


class AgentProcess:
    """`python -m gpuagent` with everything around it."""

    def __init__(self, folder: Path, studio: FakeStudio, valkey: Valkey, **more: str) -> None:
        self.namespace = f"agent:agt_{ULID()}"
        credentials = folder / "credentials.json"
        credentials.write_text(
            json.dumps({"agent_id": "agt_1", "token": TOKEN, "namespace": self.namespace})
        )
        self.log = folder / "agent.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "STUDIO_URL": studio.url,
            "REDIS_URL": valkey.url,
            "STUDIO_AGENT_CREDENTIALS": str(credentials),
            "STUDIO_AGENT_CACHE": str(folder / "cache"),
            "STUDIO_AGENT_STORE_ROOT": str(studio.store),
            "STUDIO_AGENT_MODELS_ROOT": str(HOUSE.parent),
            "STUDIO_AGENT_THREADS": "1",
            "STUDIO_HEARTBEAT_SECONDS": "0.3",
            **more,
        }
        self._valkey_url = valkey.url
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gpuagent"],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def send(self, attempt: Attempt, *, fence: int | None = None) -> None:
        """Put the message into its queue, as the dispatcher does."""
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        broker = RedisBroker(url=self._valkey_url, namespace=self.namespace, middleware=[])  # type: ignore[no-untyped-call]  # not annotated
        broker.declare_queue("gpu")
        broker.enqueue(
            dramatiq.Message(
                queue_name="gpu",
                actor_name="run_attempt",
                args=(attempt.id, attempt.fence if fence is None else fence),
                kwargs={},
                options={"max_retries": 0},
            )
        )

    def run(self, attempt: Attempt, *, seconds: float = 30) -> dict[str, Any]:
        """Send an attempt and wait for its end."""
        self.send(attempt)
        wait_until(lambda: attempt.finish, seconds=seconds, what="the attempt's end")
        assert attempt.finish is not None
        return attempt.finish

    def close(self) -> None:
        """Kill it if it still lives."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def steps_of(studio: FakeStudio, attempt: Attempt) -> list[tuple[int, int]]:
    return [(m["index"], m["step"]) for m in studio.progress_of(attempt)]
