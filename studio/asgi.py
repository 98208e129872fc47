"""ASGI entry point: HTTP through Django, sockets through Channels."""

import os

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")
django.setup(set_prefix=False)

from jobs.routing import agent_patterns, browser_patterns, no_patterns  # noqa: E402  # needs the apps
from studio.handler import OneHopHandler  # noqa: E402  # same
from studio.limits import RequestLimits  # noqa: E402  # same

application = ProtocolTypeRouter(
    {
        "http": RequestLimits(OneHopHandler()),
        "websocket": URLRouter(
            [
                *agent_patterns,
                *browser_patterns(
                    lambda app: AllowedHostsOriginValidator(AuthMiddlewareStack(app))
                ),
                *no_patterns,
            ]
        ),
    }
)
