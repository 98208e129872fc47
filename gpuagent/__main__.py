"""`python -m gpuagent`: one agent. Configured by the environment (see `runner.settings`)."""

from __future__ import annotations

import os
import signal
import sys
import threading

from gpuagent.actors import make_worker
from gpuagent.runner.agent import Agent
from gpuagent.runner.logs import configure_logging, log_event
from gpuagent.runner.settings import Settings, SettingsInvalidError

_WORKER_STOP_MILLISECONDS = 2_000


def main() -> int:
    """Run until told to stop. 0 if it left in good order, 2 if it is not configured."""
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = Settings.from_env(os.environ)
    except SettingsInvalidError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    agent = Agent(settings)
    if not agent.start(stop):
        return 0
    worker = make_worker(settings.redis_url, settings.credentials.namespace, agent.runner)
    worker.start()
    stop.wait()
    log_event("agent.draining")
    agent.drain()
    worker.stop(timeout=_WORKER_STOP_MILLISECONDS)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Library threads may still be in a kernel call; everything of value is written by now.
    os._exit(code)
