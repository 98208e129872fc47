"""ASGI entry point: HTTP through Django, sockets through Channels."""

import os

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")
django.setup(set_prefix=False)

from jobs.routing import agent_patterns, browser_patterns  # needs the loaded apps
from studio.handler import OneHopHandler  # same

application = ProtocolTypeRouter(
    {
        "http": OneHopHandler(),
        "websocket": URLRouter(
            [
                *agent_patterns,
                *browser_patterns(
                    lambda app: AllowedHostsOriginValidator(AuthMiddlewareStack(app))
                ),
            ]
        ),
    }
)
