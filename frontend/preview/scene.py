"""Stand-ins for the server: the real templates with invented context, and invented pictures.

For looking only; nothing of the product imports this.
"""

from __future__ import annotations

import io
import json
import math
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import allauth
import django
from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parents[2]
ROOM = "/w/wsp_1"


def _page(request: HttpRequest, **_: str) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("accounts/login/", _page, name="account_login"),
    path("accounts/logout/", _page, name="account_logout"),
    path("accounts/password/change/", _page, name="account_change_password"),
    path("settings/tokens", _page, name="tokens"),
    path("w/<str:workspace_id>/", _page, name="room"),
]

settings.configure(
    SECRET_KEY="preview",  # noqa: S106 - signs nothing but this preview's CSRF token
    ROOT_URLCONF=__name__,
    STATIC_URL="/static/",
    USE_TZ=True,
    FRONTEND_MANIFEST=ROOT / "static" / "build" / "manifest.json",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [ROOT / "templates", Path(allauth.__file__).parent / "templates"],
            "OPTIONS": {"libraries": {"studio": "studio.core.templatetags.studio"}},
        }
    ],
)
django.setup()

from django.template import engines  # noqa: E402 - needs the settings above

from accounts.roles import ROLE_PERMISSIONS, Role  # noqa: E402 - see above
from accounts.token_forms import TokenForm  # noqa: E402 - see above

EXAMPLES = [
    "A lighthouse at dusk, long exposure",
    "Still life with pears, north light",
    "An empty swimming pool, 35 mm",
    "Paper city seen from above",
]
PROMPT = "A lighthouse on a basalt cliff at dusk, long exposure, (silver sea:1.2), last light"
DIGEST = "9f2c4b7ae1d05c3388a41be76f0d92c5e1b7f4a60c2d98e3b51a7f06d4c3e2b1"


def render(template: str, context: dict[str, Any]) -> str:
    """A template as the server would render it."""
    return str(engines["django"].get_template(template).render(context, HttpRequest()))


@cache
def picture(number: int, side: int = 512, blur: float = 0, ratio: float = 1) -> bytes:
    """An invented picture: a horizon, a light, some grain."""
    rng = random.Random(number)  # noqa: S311 - not for secrets
    width, height = side, round(side / ratio)
    sky, sea = [tuple(rng.randint(20, 235) for _ in range(3)) for _ in range(2)]
    horizon, sun_x = rng.uniform(0.4, 0.75), rng.uniform(0.2, 0.8)
    small = Image.new("RGB", (96, round(96 / ratio)))
    pixels = small.load()
    for y in range(small.height):
        for x in range(small.width):
            u, v = x / small.width, y / small.height
            base = sky if v < horizon else sea
            fade = 0.35 + 0.65 * (v / horizon if v < horizon else (1 - v) / (1 - horizon))
            light = math.exp(-((u - sun_x) ** 2 + (v - horizon) ** 2) * 14) * 150
            wave = 12 * math.sin(u * 23 + number) * math.sin(v * 31) if v > horizon else 0
            pixels[x, y] = tuple(max(0, min(255, int(c * fade + light + wave))) for c in base)
    image = small.resize((width, height), Image.Resampling.BICUBIC)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80)
    return out.getvalue()


def tile(job: str, index: int = 0, status: str = "succeeded", **more: object) -> dict[str, Any]:
    """A tile as the view makes it."""
    number = sum(map(ord, job)) + index
    output = f"out_{job}_{index}" if status == "succeeded" else None
    return {
        "job_id": job,
        "index": index,
        "status": status,
        "seed": 1000 + number,
        "width": 512,
        "height": 512,
        "output_id": output,
        "thumb_url": f"/media/{number}" if output else None,
        "picture_url": f"/media/{number}?big=1" if output else None,
        "alt": PROMPT,
        "error_message": None,
        "can_cancel": status in ("queued", "running"),
        "url": f"{ROOM}/outputs/{output}",
        "created_at": datetime.now(UTC),
        **more,
    }


def preset(name: str, summary: str, **recipe: object) -> dict[str, str]:
    """A model's preset as the view makes it."""
    return {"name": name, "summary": summary, "recipe_json": json.dumps(recipe)}


def job_id(number: int) -> str:
    """30 characters, as on the wire."""
    return f"job_{number:026d}"


def queue(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The drawer with these rows, in the groups of the product."""
    titles = {
        "running": "Being made",
        "mine": "Yours, waiting",
        "others": "Of others, waiting",
        "ended": "Ended",
    }
    kinds = [
        "running"
        if row["status"] == "running"
        else "ended"
        if row["status"] != "queued"
        else "others"
        if row["prompt"] is None
        else "mine"
        for row in rows
    ]
    groups = [
        {
            "name": name,
            "title": title,
            "rows": [row for row, kind in zip(rows, kinds, strict=True) if kind == name],
        }
        for name, title in titles.items()
    ]
    mine = sum(row["prompt"] is not None for row in rows)
    return {
        "groups": [group for group in groups if group["rows"]],
        "mine": mine,
        "total": len(rows),
        "hidden": 0,
    }


def base() -> dict[str, Any]:
    """What every page of a workspace has."""
    return {
        "workspace": {"id": "wsp_1", "name": "Title sequences", "color": "#6aa5c8"},
        "organization": {"id": "org_1", "name": "Northlight Pictures"},
        "user_email": "alice@northlight.example",
        "who_can_see": ["Alice Okafor", "Bob Lindqvist", "Victor Amsel"],
        "agents": {"connected": 1, "warm": 1},
    }


def room(tiles: list[dict[str, Any]], rows: list[dict[str, Any]], **more: object) -> str:
    """The room's page."""
    values = {
        "prompt": PROMPT,
        "negative_prompt": "",
        "num_inference_steps": 20,
        "guidance_scale": 5.0,
        "width": 512,
        "height": 512,
        "seed": "",
        "sampler": "dpmpp_2m_karras",
        "num_images_per_prompt": 4,
        "clip_skip": 0,
        "model": DIGEST,
        "strength": 0.7,
        "mask_blur": 4,
        "inpaint_area": "whole",
        "mask_padding": 32,
    }
    context = {
        **base(),
        "form": values,
        "models": [
            {
                "digest": DIGEST,
                "name": "House model",
                "architecture": "sd15",
                "licence": "Apache-2.0",
                "is_warm": True,
                "default_width": 512,
                "default_height": 512,
                "presets": [
                    preset("Standard", "20 steps, guidance 5", num_inference_steps=20),
                    preset("Quick draft", "8 steps", num_inference_steps=8),
                    preset("Careful", "30 steps", num_inference_steps=30),
                    preset("Large", "768 × 768", width=768, height=768),
                ],
            },
            {
                "digest": "a" * 64,
                "name": "Portrait study 2",
                "architecture": "sd15",
                "licence": "CreativeML OpenRAIL-M",
                "is_warm": False,
                "default_width": 768,
                "default_height": 768,
            },
        ],
        "samplers": [
            {"id": "dpmpp_2m_karras", "label": "DPM++ 2M Karras"},
            {"id": "euler_a", "label": "Euler a"},
        ],
        "sizes": [
            {"width": 512, "height": 512, "label": "1:1"},
            {"width": 512, "height": 640, "label": "4:5"},
            {"width": 512, "height": 768, "label": "2:3"},
            {"width": 768, "height": 512, "label": "3:2"},
        ],
        "example_prompts": EXAMPLES,
        "limits": {},
        "gallery": {
            "tiles": tiles,
            "next_url": None,
            "is_trash": False,
            "total": len(tiles),
            "trash_total": 3,
        },
        "queue": queue(rows),
        "tiers": [
            {"id": "turbo", "name": "Turbo", "means": "before all others"},
            {"id": "fast", "name": "Fast", "means": "the usual"},
            {"id": "relax", "name": "Relax", "means": "when nobody else is in a hurry"},
        ],
        "urls": {
            "submit": f"{ROOM}/jobs",
            "queue": f"{ROOM}/queue",
            "forecast": f"{ROOM}/forecast",
            "gallery": f"{ROOM}/gallery",
            "upload": f"{ROOM}/uploads",
            "upload_from_address": f"{ROOM}/uploads/from-address",
            "socket": "/ws/w/wsp_1/",
            "trash": f"{ROOM}/gallery?trash=1",
        },
        **more,
    }
    if more.get("blank"):
        values["prompt"] = ""
    return render("jobs/room.html", context)


def output_context(output: str, **more: object) -> dict[str, Any]:
    """What the viewer shows."""
    _, *job, index = output.split("_")
    number = sum(map(ord, "_".join(job))) + int(index)
    url = f"{ROOM}/outputs/{output}"
    recipe = {
        "prompt": PROMPT,
        "negative_prompt": "people, text, watermark",
        "num_inference_steps": 20,
        "guidance_scale": 5.0,
        "sampler": "dpmpp_2m_karras",
        "seed": 1000 + number,
        "width": 512,
        "height": 512,
        "model": DIGEST,
        "num_images_per_prompt": 1,
    }
    manifest = {
        "version": 1,
        "recipe": recipe,
        "model": {"name": "House model", "digest": DIGEST, "architecture": "sd15"},
        "engine": {
            "torch": "2.13.0+cpu",
            "diffusers": "0.42.1",
            "device": "cpu: AMD EPYC 9R14",
            "dtype": "float32",
            "deterministic": True,
        },
    }
    return {
        "output": {
            "id": output,
            "picture_url": f"/media/{number}?big=1",
            "thumb_url": f"/media/{number}",
            "width": 512,
            "height": 512,
            "seed": 1000 + number,
            "created_at": datetime.now(UTC) - timedelta(minutes=12),
            "is_trashed": False,
            "is_starred": False,
            "size_bytes": 412_345,
            "media_type": "image/png",
        },
        "recipe": recipe,
        "manifest": manifest,
        "manifest_json": json.dumps(manifest, indent=2),
        "verdict": None,
        "author_email": "alice@northlight.example",
        "urls": {
            "rerun": f"{url}/rerun",
            "parameters": f"{url}/parameters",
            "start": f"{url}/start",
            "download": f"{url}/download",
            "trash": f"{url}/trash",
            "restore": f"{url}/restore",
            "previous": f"{ROOM}/outputs/out_{job_id(3)}_0",
            "next": f"{ROOM}/outputs/out_{job_id(4)}_1",
        },
        **more,
    }


class LoginForm(forms.Form):
    """As allauth's."""

    login = forms.EmailField(label="E-mail")
    password = forms.CharField(label="Password", widget=forms.PasswordInput)
    remember = forms.BooleanField(required=False)


def tokens_context() -> dict[str, Any]:
    """The page of API tokens."""
    now = datetime.now(UTC)
    shared = {"last_used_at": None, "expires_at": None, "requests_per_minute": None}
    farm = {**shared, "id": "tok_1", "name": "Render farm script", "prefix": "stu_01JD8"}
    old = {**shared, "id": "tok_2", "name": "Old notebook", "prefix": "stu_01JA2"}
    workspaces = [("wsp_1", "Title sequences")]
    return {
        "user_email": "alice@northlight.example",
        "chosen": "org_1",
        "organizations": [],
        "here": "/settings/tokens",
        "is_own": True,
        "reveal": {"plain": "stu_01JD8ZK5W3N4Q7R2T9V6XMHYBC_c2VjcmV0LXZhbHVl"},
        "tokens": [
            {
                "token": {**farm, "created_at": now, "last_used_at": now - timedelta(hours=3)},
                "is_live": True,
                "scopes": "Make pictures",
                "workspaces": ["Title sequences"],
            },
            {"token": {**old, "created_at": now}, "is_live": False, "is_revoked": True},
        ],
        "form": TokenForm(rights=ROLE_PERMISSIONS[Role.ARTIST], workspaces=workspaces),
    }
