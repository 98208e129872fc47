"""Teams, invitations and sign-on behind row-level security; the audit log append-only."""

from __future__ import annotations

from django.db import migrations

from studio.core.row_security import append_only, guard


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_walls")]
    operations = [
        guard("accounts_team"),
        guard("accounts_teammember"),
        guard("accounts_invitation"),
        guard("accounts_identityprovider"),
        append_only("accounts_auditevent"),
    ]
