"""The second wall: row-level security learns from the connection which organization may be seen.

The policies (`studio.core.row_security`) compare each row with the setting `studio.organization`.
This backend sets it before a statement whenever the scope is another than the one last told, and
forgets what it told wherever PostgreSQL forgets it too: with a new connection, and with a rollback,
since a setting is part of the transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.backends.postgresql import base
from typing_extensions import override

from studio.core.row_security import SETTING, setting_value
from studio.core.scoping import current_scope

T = TypeVar("T")


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose rows are those of the scope in force."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Django's signature
        super().__init__(*args, **options)
        self._told: str | None = None
        self._silent = False
        self.execute_wrappers.append(self._tell)

    @override
    def init_connection_state(self) -> None:
        self._told = None
        super().init_connection_state()

    @override
    def close(self) -> None:
        self._told = None
        super().close()

    # Hooks that Django documents for its own backends only, so the stubs leave them out.
    def _rollback(self) -> None:
        self._told = None
        super()._rollback()  # type: ignore[misc]  # see above

    def _savepoint_rollback(self, sid: str) -> None:
        # It ends a transaction that may have failed, in which nothing can be told.
        self._silent = True
        try:
            super()._savepoint_rollback(sid)  # type: ignore[misc]  # see above
        finally:
            self._silent, self._told = False, None

    def _tell(self, execute: Callable[..., T], *statement: Any) -> T:  # noqa: ANN401  # passed on
        wanted = setting_value(current_scope())
        if wanted != self._told and not self._silent:
            self.validate_no_broken_transaction()
            with self.wrap_database_errors, self.connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, %s, false)", (SETTING, wanted))
            self._told = wanted
        return execute(*statement)
