"""`python -m studio.serve`: the web process. uvicorn, with our limits and without its chatter."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import sys
from contextlib import suppress
from socket import socket

import uvicorn
from django.core.exceptions import ImproperlyConfigured
from typing_extensions import override

from studio import env
from studio.connections import GuardedConnection
from studio.core.stopping import is_stopping

APPLICATION = "studio.asgi:application"
# The largest that anybody sends is a sealed preview of 20 KiB.
SOCKET_MESSAGE_MAX_BYTES = 64 * 1024
PING_SECONDS = 20.0
# Longer than proxies keep theirs: who closes first must not be the one that is about to be asked.
KEEP_ALIVE_SECONDS = 75
STOP_SECONDS = 5
OPEN_FILES_MAX = 65_536


class Server(uvicorn.Server):
    """Tells those who wait for a job that they should not wait any longer."""

    @override
    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        is_stopping.set()
        await super().shutdown(sockets)


def configuration(host: str, port: int, application: str = APPLICATION) -> uvicorn.Config:
    """How we serve; `application` is `module:name`.

    Raises:
        ImproperlyConfigured: `STUDIO_TRUSTED_PROXIES` is not a list of addresses.
    """
    proxies = env.networks("STUDIO_TRUSTED_PROXIES")
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http=GuardedConnection,
        ws="websockets-sansio",
        ws_max_size=SOCKET_MESSAGE_MAX_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,  # pictures do not shrink; a buffer for each socket would be
        lifespan="off",
        log_config=None,  # Django's LOGGING speaks for all
        access_log=False,  # addresses of pictures are signed
        server_header=False,
        proxy_headers=bool(proxies),  # whose word on the caller's address and scheme is taken
        forwarded_allow_ips=proxies,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def main(arguments: list[str] | None = None, *, application: str = APPLICATION) -> int:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m studio.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args(arguments)
    try:
        server = Server(configuration(given.host, given.port, application))
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        return 1
    _allow_many_connections()
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 1


def _allow_many_connections() -> None:
    """Raise the soft limit of open files, often 1,024, as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(OPEN_FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has a further limit that it does not name
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _is_news(record: logging.LogRecord) -> bool:
    """Requests that are cut off at the very end are counted in one line, without their traces."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


if __name__ == "__main__":
    sys.exit(main())
