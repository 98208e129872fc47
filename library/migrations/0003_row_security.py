"""The library behind row-level security; public models are seen by all."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import guard_child, guard_shared


class Migration(migrations.Migration):
    dependencies = [("library", "0002_modelasset_presets")]
    operations = [
        guard_shared("library_modelasset"),
        guard_child("library_modelversion", "asset_id", "library_modelasset"),
        guard_child(
            "library_modelfile",
            "version_id",
            "library_modelversion",
            "asset_id=library_modelasset",
        ),
    ]
