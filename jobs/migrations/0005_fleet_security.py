"""An organization's share and the records of its runs behind row-level security."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import guard


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_fleet")]
    operations = [guard("jobs_organizationshare"), guard("jobs_runrecord")]
