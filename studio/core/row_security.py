"""Row-level security: the statements for migrations, and what they compare a row with."""

from __future__ import annotations

from django.db import connection, migrations

from studio.core.scoping import Scope

SETTING = "studio.organization"
# What the machinery says instead of an organization; no id looks like it.
EVERYTHING = "*"
# As a subquery it is read once a statement instead of once a row.
_SCOPE = f"(SELECT current_setting('{SETTING}', true))"
OWN = f"({_SCOPE} = '{EVERYTHING}' OR organization_id = {_SCOPE})"
_SHARED = f"(organization_id IS NULL AND {_SCOPE} <> '')"


def setting_value(scope: Scope | None) -> str:
    """What the database is told: an organization, everything, or (outside a scope) nothing."""
    if scope is None:
        return ""
    return EVERYTHING if scope.organization_id is None else scope.organization_id


def is_passed_by() -> bool:
    """Whether our database role passes row-level security by: a superuser's does, silently."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        (passed_by,) = cursor.fetchone()
    return bool(passed_by)


def guard(table: str) -> migrations.RunSQL:
    """Rows of `table` are seen and written in their organization's scope only."""
    return _guarded(table, _policy("studio_own", table, "ALL", using=OWN, check=OWN))


def guard_shared(table: str) -> migrations.RunSQL:
    """As `guard`; rows without an organization are seen in every scope, written by the system."""
    return _guarded(
        table,
        _policy("studio_own", table, "ALL", using=OWN, check=OWN),
        _policy("studio_shared", table, "SELECT", using=_SHARED),
    )


def append_only(table: str) -> migrations.RunSQL:
    """Rows of `table` stay as they were written: the database refuses to change or delete them."""
    return migrations.RunSQL(
        [
            """CREATE FUNCTION studio_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'rows of % are append-only', TG_TABLE_NAME; END $$""",
            f'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON "{table}" '
            "FOR EACH ROW EXECUTE FUNCTION studio_refuse_change()",
        ],
        [f'DROP TRIGGER append_only ON "{table}"', "DROP FUNCTION studio_refuse_change()"],
    )


def guard_child(table: str, column: str, parent: str, grandparent: str = "") -> migrations.RunSQL:
    """Rows of `table` are seen where their parent is, and written where it may be written.

    The parent's own policies decide the first. `grandparent` is `column=table` where the parent
    has no organization of its own either.
    """
    if grandparent:
        through, owner = grandparent.split("=")
        source = f'"{parent}" p JOIN "{owner}" o ON o.id = p.{through}'
    else:
        source = f'"{parent}" o'
    key = "p.id" if grandparent else "o.id"
    seen = f'{column} IN (SELECT id FROM "{parent}")'  # noqa: S608  # names from our migrations
    owned = OWN.replace("organization_id", "o.organization_id")
    written = f'EXISTS (SELECT 1 FROM {source} WHERE {key} = "{table}".{column} AND {owned})'  # noqa: S608  # as above
    return _guarded(
        table,
        _policy("studio_seen", table, "SELECT", using=seen),
        _policy("studio_own", table, "ALL", using=written, check=written),
    )


def _guarded(table: str, *policies: tuple[str, str]) -> migrations.RunSQL:
    on = [
        f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
        # For the table's owner too, which is who we are.
        f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY',
    ]
    off = [
        f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY',
    ]
    return migrations.RunSQL(
        [*(made for made, _ in policies), *on], [*off, *(gone for _, gone in policies)]
    )


def _policy(name: str, table: str, command: str, *, using: str, check: str = "") -> tuple[str, str]:
    made = f'CREATE POLICY {name} ON "{table}" FOR {command} USING ({using})'
    if check:
        made += f" WITH CHECK ({check})"
    return made, f'DROP POLICY {name} ON "{table}"'
