"""The audit log behind row-level security."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import guard


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [guard("accounts_auditevent")]
