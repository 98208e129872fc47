"""Map makers: a kind of model, and their networks."""

from __future__ import annotations

from django.db import migrations, models

KINDS = (
    *("checkpoint", "lora", "embedding", "upscaler", "cutter", "mapper", "controlnet", "vae"),
    *("ip_adapter", "image_encoder"),
)
ARCHITECTURES = (
    *("sd15", "sdxl", "sd3", "flux", "esrgan", "u2net"),
    *("depth_anything", "dpt", "vitpose", "clip_vision"),
)


class Migration(migrations.Migration):
    dependencies = [("library", "0011_ip_adapter")]
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
