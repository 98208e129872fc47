"""Workspaces and their artifacts behind row-level security."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import guard


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0001_initial")]
    operations = [guard("workspaces_workspace"), guard("workspaces_artifact")]
