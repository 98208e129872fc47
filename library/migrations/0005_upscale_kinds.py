"""Upscalers: a kind of model, and their family."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("library", "0004_lora_adapters")]
    operations = [
        migrations.AlterField(
            "modelasset",
            "kind",
            models.CharField(
                choices=[("checkpoint", "checkpoint"), ("lora", "lora"), ("embedding", "embedding"), ("upscaler", "upscaler")], max_length=24
            ),
        ),
        migrations.AlterField(
            "modelversion",
            "architecture",
            models.CharField(choices=[("sd15", "sd15"), ("esrgan", "esrgan")], max_length=24),
        ),
    ]
