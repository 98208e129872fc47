"""Grants, projects and share links behind row-level security."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import guard


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0004_walls")]
    operations = [
        guard("workspaces_workspacegrant"),
        guard("workspaces_project"),
        guard("workspaces_sharelink"),
    ]
