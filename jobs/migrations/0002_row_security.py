"""Jobs, their attempts and outputs behind row-level security."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import guard


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [guard("jobs_job"), guard("jobs_jobattempt"), guard("jobs_output")]
