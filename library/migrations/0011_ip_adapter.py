"""IP-Adapters and the image encoders that they read."""

from __future__ import annotations

from django.db import migrations, models

KINDS = (
    "checkpoint",
    "lora",
    "embedding",
    "upscaler",
    "cutter",
    "controlnet",
    "vae",
    "ip_adapter",
    "image_encoder",
)
ARCHITECTURES = ("sd15", "sdxl", "sd3", "flux", "esrgan", "u2net", "clip_vision")


class Migration(migrations.Migration):
    dependencies = [("library", "0010_import")]
    operations = [
        migrations.AlterField(
            "modelasset",
            "kind",
            models.CharField(choices=[(kind, kind) for kind in KINDS], max_length=24),
        ),
        migrations.AlterField(
            "modelversion",
            "architecture",
            models.CharField(choices=[(name, name) for name in ARCHITECTURES], max_length=24),
        ),
    ]
