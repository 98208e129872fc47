"""`python -m gpuagent`: one agent. `join` makes it one of a studio's, `run` (or nothing) runs it.

Configured by the environment and the credentials file (see `runner.settings`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from gpuagent.actors import make_worker
from gpuagent.runner.agent import Agent
from gpuagent.runner.joining import JoinFailedError, JoinRequest, default_name, join
from gpuagent.runner.logs import configure_logging, log_event
from gpuagent.runner.notice import NoticeWatch
from gpuagent.runner.settings import (
    Settings,
    SettingsInvalidError,
    credentials_path,
    device_of,
    split_labels,
)
from gpuagent.runner.vitals import serve_vitals

_WORKER_STOP_MILLISECONDS = 2_000


def main(arguments: Sequence[str]) -> int:
    """0 if all went in good order, 1 if joining failed, 2 if something is not configured."""
    given = _parser().parse_args(arguments)
    try:
        return _join(given) if given.command == "join" else _run()
    except SettingsInvalidError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpuagent", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="run the agent (also without a command)")
    joining = commands.add_parser("join", help="make this machine an agent of a studio")
    joining.add_argument("--url", required=True, help="address of the studio: https://…")
    joining.add_argument("--token", required=True, help="join token, or - to read it from stdin")
    joining.add_argument("--name", default="", help="how the agent is called in the studio")
    joining.add_argument("--device", default="", help="cpu, cuda or cuda:N; default: what there is")
    joining.add_argument("--labels", default="", help="words with commas between")
    joining.add_argument("--credentials", type=Path, help="where to keep what the studio answers")
    joining.add_argument("--ca-file", type=Path, help="certificate of your own authority")
    joining.add_argument("--replace", action="store_true", help="join anew: another agent")
    return parser


def _join(given: argparse.Namespace) -> int:
    device = device_of(given.device)
    token = sys.stdin.readline() if given.token == "-" else given.token  # noqa: S105 - a dash, no token
    request = JoinRequest(
        url=given.url,
        token=token.strip(),
        name=given.name or default_name(device),
        device=device,
        labels=split_labels(given.labels),
        credentials=given.credentials or credentials_path(os.environ),
        ca_file=given.ca_file,
        replace=given.replace,
    )
    try:
        joined = join(request)
    except JoinFailedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"This machine is the agent {joined.name} ({joined.agent_id}) now.\n"
        f"Credentials: {request.credentials}\n"
        "Start it with: python -m gpuagent run\n"
    )
    return 0


def _run() -> int:
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings.from_env(os.environ)
    choose_device(settings.device, os.environ)
    agent = Agent(settings)
    if settings.metrics is not None:
        try:
            serve_vitals(settings.metrics, agent.vitals, token=settings.metrics_token)
        except OSError as error:
            raise SettingsInvalidError(
                f"STUDIO_AGENT_METRICS cannot be listened on: {error.strerror}"
            ) from error
    if not agent.start(stop):
        return 0
    redis_url = settings.redis_url or agent.wait_for_queue(stop)
    if not redis_url:
        return 0
    worker = make_worker(
        redis_url,
        settings.credentials.namespace,
        agent.runner,
        ca_file=settings.ca_file,
        batch=settings.batch,
        renew=agent.queue_url,
    )
    worker.start()
    signal.signal(
        signal.SIGHUP, lambda *_: threading.Thread(target=agent.recover, daemon=True).start()
    )
    notice = _watch_for_notice(settings.spot, stop)
    stop.wait()
    log_event("agent.draining")
    agent.drain(notice[0] if notice else None)
    worker.stop(timeout=_WORKER_STOP_MILLISECONDS)  # what still comes is handed back
    agent.close()
    return 0


def _watch_for_notice(spot: str, stop: threading.Event) -> list[float]:
    """Where the seconds are written that a cloud leaves us, once it says that the machine ends."""
    notice: list[float] = []
    if spot:

        def come(seconds: float) -> None:
            notice.append(seconds)
            stop.set()

        NoticeWatch(spot, come).start()
    return notice


def choose_device(device: str, environment: MutableMapping[str, str]) -> None:
    """Show this process the one GPU it is to use, or none; before torch looks for them.

    With `CUDA_VISIBLE_DEVICES` set the number counts among those.
    """
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif device.startswith("cuda:"):
        number = int(device.removeprefix("cuda:"))
        visible = [v for v in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
        if visible and number >= len(visible):
            raise SettingsInvalidError(
                f"STUDIO_AGENT_DEVICE is {device}, but CUDA_VISIBLE_DEVICES names "
                f"{len(visible)} only"
            )
        environment["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Library threads may still be in a kernel call; everything of value is written by now.
    os._exit(code)
