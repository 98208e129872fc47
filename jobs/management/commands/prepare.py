"""`manage.py prepare`: bring an installation to the point where it can be used. Idempotent."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction
from typing_extensions import override

from accounts.models import Membership, Organization, User
from accounts.roles import Role
from accounts.services.audit import record_system
from gpuagent.protocol.taxonomy import ControlKind
from jobs.models import Agent
from jobs.services import agent_access
from jobs.services.fleet import create_agent
from jobs.services.indexing import index_prompts
from library.models import ModelAsset
from library.services.adapters import register_adapter, restore_public_adapter
from library.services.controls import register_controlnet
from library.services.ip_adapters import register_ip_adapter
from library.services.registration import Description, register_model, restore_public
from library.services.upscalers import register_upscalers
from studio.core.row_security import is_passed_by
from studio.core.scoping import organization_scope, system_scope
from workspaces.models import Workspace

DEMO_EMAIL = "artist@studio.example"
LOCAL_AGENT = "local"
_PASSED_BY = (
    "The database role is a superuser's or has BYPASSRLS: PostgreSQL does not keep organizations "
    "apart for it, and only the first of two walls stands. Use a role without these rights."
)
HOUSE_NAME = "House"
HOUSE_NAME_BESIDE_ANOTHER = "House (studio)"
# How the description of every release begins: by this its entry in the library is known.
HOUSE_INTRODUCTION = "The small model that comes with the studio"
HOUSE_DESCRIPTION = (
    f"{HOUSE_INTRODUCTION}: eighteen things in ten colors on ten backgrounds, as photo, flat "
    "illustration or sketch; small or large, left or right, two at a time. 128 × 128 pixels."
)
HOUSE_EXAMPLES = (
    "photo of a red mug on a wooden table",
    "a blue car on a beach",
    "flat illustration of a green boat at sunset",
    "pencil sketch of an orange fish on a blue background",
    "a pink balloon under a starry night sky",
    "photo of a white house in the snow",
    "a red mug and a blue star on a wooden table",
    "ink sketch of a black hat on a pink background",
    "photo of a large brown mushroom in a green meadow",
    "a small red heart on the left on a blue background",
    "a purple vase with flowers on a wooden table",
    "a yellow boat and a green umbrella on a beach",
)
# The room's form starts with the first. How well each does: docs/reference/house-model.md.
HOUSE_PRESETS: tuple[dict[str, object], ...] = (
    {
        "name": "Standard",
        "recipe": {
            "num_inference_steps": 20,
            "guidance_scale": 4,
            "sampler": "dpmpp_2m_karras",
            "width": 128,
            "height": 128,
        },
    },
    {
        "name": "Quick draft",
        "recipe": {"num_inference_steps": 10, "guidance_scale": 4, "sampler": "unipc"},
    },
    {
        "name": "Careful",
        "recipe": {"num_inference_steps": 30, "guidance_scale": 3, "sampler": "euler_a"},
    },
)
# File, name, what it does, its trigger word, how to call it.
HOUSE_ADAPTERS = (
    (
        "neon/pytorch_lora_weights.safetensors",
        "Neon signs",
        "A LoRA for the house model: things become neon signs at night.",
        "neon sign of",
        ("neon sign of a red mug", "glowing neon sign of a green boat"),
    ),
    (
        "fast/pytorch_lora_weights.safetensors",
        "Four steps",
        "A LoRA for the house model: pictures in four steps, with the sampler LCM and guidance 1.",
        "",
        (),
    ),
    (
        "teal/learned_embeds.safetensors",
        "Teal",
        "An embedding for the house model: a color it was never shown, called <teal>.",
        "<teal>",
        ("photo of a <teal> mug on a wooden table",),
    ),
)
HOUSE_ADAPTER_PRESETS = {
    "Four steps": (
        {
            "name": "Four steps",
            "recipe": {"num_inference_steps": 4, "guidance_scale": 1, "sampler": "lcm"},
        },
    ),
}

CONTROLNET_NAME = "Edges"
LIKENESS_NAME = "Likeness"
LIKENESS_TEXT = "An IP-Adapter for the house model: pictures show what an example shows."
CONTROLNET_TEXT = "A ControlNet for the house model: pictures follow given edges."
HOUSE_CUTTER = "House cutout"
HOUSE_CUTTER_DESCRIPTION = (
    "Takes the background away: a small U²-Net, trained on what the house model learnt from. "
    "It knows single things on plain or simple backgrounds; for photos register u2net itself."
)


class Command(BaseCommand):
    """Tables, the demo organization, the house model, the local agent's credentials."""

    help = "Create what a fresh installation needs; safe to run at every start."

    @override
    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        call_command("migrate", verbosity=0)
        self.stdout.write("tables are up to date")
        if is_passed_by():
            self.stderr.write(_PASSED_BY)
        state = Path(os.environ["STUDIO_STATE"])
        with system_scope():
            login = prepare_demo(state)
            register_house_model()
            register_house_adapters()
            register_house_controlnet()
            register_house_likeness()
            register_house_cutter()
            self.stdout.write("the house model is in the library")
            if not register_upscalers():
                self.stdout.write("there are no weights for upscaling: their package is missing")
            forget_last_run()
            if (indexed := index_prompts()[0]) > 0:
                self.stdout.write(f"{indexed} jobs can now be found by the words of their prompts")
            write_all_credentials(Path(os.environ["STUDIO_AGENT_CREDENTIALS"]))
        self.stdout.write(json.dumps(login))


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


@transaction.atomic
def prepare_demo(state: Path) -> dict[str, str]:
    """The demo organization, its workspace and its artist; the password is kept in a file."""
    password_file = state / "demo-password"
    user = User.objects.filter(email=DEMO_EMAIL).first()
    if user is None:
        password = secrets.token_urlsafe(12)
        user = User.objects.create_user(DEMO_EMAIL, password, name="Demo artist", is_operator=True)
        _write_private(password_file, password)
        organization = Organization.objects.create(name="Demo studio")
        Membership.objects.create(user=user, organization=organization, role=Role.OWNER.value)
        with organization_scope(organization.pk):
            room = Workspace.objects.create(organization=organization, name="First workspace")
            record_system(organization.pk, "organization.created", organization.pk)
            record_system(organization.pk, "workspace.created", room.pk)
    membership = Membership.objects.filter(user=user).order_by("created_at").first()
    organization_id = membership.organization_id if membership else ""
    workspace = Workspace.objects.filter(organization_id=organization_id).order_by("id").first()
    known = password_file.read_text(encoding="utf-8") if password_file.exists() else ""
    return {
        "email": DEMO_EMAIL,
        "password": known if known and user.check_password(known) else "(as you changed it)",
        "workspace_path": f"/w/{workspace.pk}/" if workspace else "/",
    }


def register_house_model() -> None:
    """Register `house/model` by the path that every model takes, once per release.

    A release that is registered already, under whatever public name, is left as it is described
    now: whoever runs the studio may have said it in other words.
    """
    folder = settings.BASE_DIR / "house" / "model"
    if restore_public(folder) is not None:
        return
    description = Description(
        name=_house_name(),
        licence="CC0 1.0",
        text=HOUSE_DESCRIPTION,
        example_prompts=HOUSE_EXAMPLES,
        presets=HOUSE_PRESETS,
    )
    register_model(folder, description, organization_id=None)


def register_house_adapters() -> None:
    """Register what lies in `house/adapters`, like the house model and beside it."""
    for path, name, text, trigger, examples in HOUSE_ADAPTERS:
        file, words = settings.BASE_DIR / "house" / "adapters" / path, [trigger] if trigger else []
        if restore_public_adapter(file, words) is not None:
            continue
        others = ModelAsset.objects.filter(organization=None, name=name).exclude(description=text)
        description = Description(
            name=f"{name} (studio)" if others.exists() else name,
            licence="CC0 1.0",
            text=text,
            example_prompts=examples,
            presets=HOUSE_ADAPTER_PRESETS.get(name),
        )
        register_adapter(file, description, organization_id=None, trigger_words=words)


def register_house_controlnet() -> None:
    """Register `house/adapters/canny`, unless it is here under whatever public name."""
    folder = settings.BASE_DIR / "house" / "adapters" / "canny"
    if restore_public(folder) is not None:
        return
    others = ModelAsset.objects.filter(organization=None, name=CONTROLNET_NAME)
    is_taken = others.exclude(description=CONTROLNET_TEXT).exists()
    description = Description(
        name=f"{CONTROLNET_NAME} (studio)" if is_taken else CONTROLNET_NAME,
        licence="CC0 1.0",
        text=CONTROLNET_TEXT,
    )
    register_controlnet(folder, description, organization_id=None, kinds=[ControlKind.CANNY])


def register_house_likeness() -> None:
    """Register `house/adapters/likeness` and its image encoder, unless they are here already."""
    folder = settings.BASE_DIR / "house" / "adapters" / "likeness"
    if restore_public(folder) is not None:
        return
    others = ModelAsset.objects.filter(organization=None, name=LIKENESS_NAME)
    is_taken = others.exclude(description=LIKENESS_TEXT).exists()
    description = Description(
        name=f"{LIKENESS_NAME} (studio)" if is_taken else LIKENESS_NAME,
        licence="CC0 1.0",
        text=LIKENESS_TEXT,
    )
    register_ip_adapter(folder / "ip_adapter.safetensors", description, organization_id=None)


def register_house_cutter() -> None:
    """Register what takes backgrounds away, like the house model and beside it."""
    folder = settings.BASE_DIR / "house" / "adapters" / "cutout"
    if restore_public(folder) is not None:
        return
    others = ModelAsset.objects.filter(organization=None, name=HOUSE_CUTTER)
    is_taken = others.exclude(description=HOUSE_CUTTER_DESCRIPTION).exists()
    description = Description(
        name=f"{HOUSE_CUTTER} (studio)" if is_taken else HOUSE_CUTTER,
        licence="CC0 1.0",
        text=HOUSE_CUTTER_DESCRIPTION,
    )
    register_model(folder, description, organization_id=None)


def _house_name() -> str:
    """`House`, unless another public model has that name."""
    others = ModelAsset.objects.filter(organization=None, name=HOUSE_NAME).exclude(
        description__startswith=HOUSE_INTRODUCTION
    )
    return HOUSE_NAME_BESIDE_ANOTHER if others.exists() else HOUSE_NAME


def forget_last_run() -> None:
    """The agent of this machine is not running yet, however lately it was heard of."""
    local = Agent.objects.filter(is_local=True)
    local.update(last_seen_at=None, is_ready=False, warm=[])


def write_all_credentials(path: Path) -> None:
    """Credentials for each of this machine's agents: `agent.json`, `agent-1.json`, …"""
    write_agent_credentials(path)
    devices = os.environ.get("STUDIO_AGENT_DEVICES", "").split(",")
    for number in range(1, len([name for name in devices if name.strip()])):
        own = path.with_name(f"{path.stem}-{number}{path.suffix}")
        write_agent_credentials(own, f"{LOCAL_AGENT}-{number}")


def write_agent_credentials(path: Path, name: str = LOCAL_AGENT) -> None:
    """Credentials of an agent on this machine; made anew if the file or the row is gone.

    The way into Redis is granted at every start: Redis may be another one, or have forgotten it.
    """
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    agent = Agent.objects.filter(pk=kept.get("agent_id"), removed_at=None).first()
    token = kept.get("token")
    if agent is None or not token:
        agent, token = create_agent(name, is_local=True)
    credentials = {
        "agent_id": agent.pk,
        "token": token,
        "namespace": agent.namespace,
        "redis_url": agent_access.grant(agent),
    }
    _write_private(path, json.dumps(credentials))
