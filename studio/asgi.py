"""ASGI entry point: HTTP through Django, sockets through Channels."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "studio.settings")
http_application = get_asgi_application()

from jobs.routing import agent_patterns, browser_patterns  # noqa: E402  # needs the loaded apps

application = ProtocolTypeRouter(
    {
        "http": http_application,
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
