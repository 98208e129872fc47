"""Template tags of the base layout."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()
ENTRY = "frontend/main.ts"


@lru_cache(maxsize=1)
def _manifest() -> dict[str, Any]:
    try:
        text = settings.FRONTEND_MANIFEST.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return dict(json.loads(text))


@register.simple_tag
def frontend_assets(source: str = ENTRY) -> SafeString:
    """The built script and styles of the pages, or of another entry of the build."""
    entry = _manifest().get(source)
    if entry is None:
        return SafeString("<!-- the front end is not built: run `npm run build` -->")
    styles = format_html_join(
        "", '<link rel="stylesheet" href="{}">', ((_url(css),) for css in entry.get("css", []))
    )
    return styles + format_html('<script type="module" src="{}"></script>', _url(entry["file"]))


def _url(path: str) -> str:
    return static(f"build/{path}")


@register.simple_tag(takes_context=True)
def csrf_meta(context: dict[str, Any]) -> SafeString:
    """The CSRF token for scripts' requests."""
    request: HttpRequest | None = context.get("request")
    if request is None:
        return SafeString("")
    return format_html('<meta name="csrf-token" content="{}">', get_token(request))
