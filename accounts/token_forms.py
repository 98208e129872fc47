"""The form that makes an API token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from typing_extensions import override

from accounts.roles import Permission, Permissions
from accounts.token_limits import Limits
from accounts.token_scopes import CHOSEN, SETS, by_resource, sets_within
from studio.core.zones import end_of_day

NEVER, ON_DATE = "never", "date"
LIVES = ("30", "90", "365")
# A choice, the field that it opens, and what is said when that is left empty.
_NEEDED = (
    ("expires", ON_DATE, "expires_on", "Give the date on which it expires."),
    ("scope_set", CHOSEN, "scopes", "Choose at least one; without any it could do nothing."),
    ("reach", CHOSEN, "workspace_ids", "Choose at least one workspace."),
)


class TokenForm(forms.Form):
    """A token's name and limits. `rights` are its owner's; `workspaces` those they can look into.

    The fields of the last three groups count only where the choice before them says so, so that
    what was filled in and then not chosen is kept, and does nothing.
    """

    name = forms.CharField(error_messages={"required": "Give the token a name."})
    expires = forms.ChoiceField(
        choices=[(value, value) for value in (*LIVES, NEVER, ON_DATE)],
        error_messages={"required": "Choose when it expires."},
    )
    expires_on = forms.DateField(
        required=False, error_messages={"invalid": "Give a date, such as 2027-01-31."}
    )
    scope_set = forms.ChoiceField(
        choices=[(key, key) for key in (*SETS, CHOSEN)],
        error_messages={"required": "Choose what the token may do."},
    )
    scopes = forms.MultipleChoiceField(
        required=False, choices=[(p.value, p.value) for p in Permission]
    )
    reach = forms.ChoiceField(
        choices=[("all", "all"), (CHOSEN, CHOSEN)],
        error_messages={"required": "Choose the workspaces."},
    )
    workspace_ids = forms.MultipleChoiceField(
        required=False,
        error_messages={"invalid_choice": "One of these workspaces is not there any more."},
    )
    requests_per_minute = forms.IntegerField(
        required=False, error_messages={"invalid": "Give a whole number, or leave it empty."}
    )
    zone = forms.CharField(required=False)

    def __init__(
        self,
        data: Any = None,  # noqa: ANN401  # Django's signature
        *,
        rights: Permissions,
        workspaces: Sequence[tuple[str, str]],
    ) -> None:
        self.sets = sets_within(rights)
        first = next(iter(self.sets))
        super().__init__(data, initial={"expires": "90", "scope_set": first, "reach": "all"})
        self.resources = by_resource(rights)
        field = self.fields["workspace_ids"]
        assert isinstance(field, forms.MultipleChoiceField)  # noqa: S101  # for the type checker
        field.choices = list(workspaces)

    @override
    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        for choice, chosen, field, message in _NEEDED:
            is_empty = not values.get(field) and field not in self.errors
            if values.get(choice) == chosen and is_empty:
                self.add_error(field, message)
        return values

    def limits(self) -> Limits:
        """What was chosen; only of a valid form."""
        values = self.cleaned_data
        scopes = (
            frozenset(values["scopes"])
            if values["scope_set"] == CHOSEN
            else SETS[values["scope_set"]].scopes
        )
        return Limits(
            scopes=None if scopes is None else frozenset(str(scope) for scope in scopes),
            workspace_ids=frozenset(values["workspace_ids"] if values["reach"] == CHOSEN else ()),
            requests_per_minute=values["requests_per_minute"],
            expires_at=self._expires_at(),
        )

    def _expires_at(self) -> datetime | None:
        values = self.cleaned_data
        if values["expires"] == NEVER:
            return None
        if values["expires"] == ON_DATE:
            return end_of_day(values["expires_on"], values["zone"]).astimezone(UTC)
        return timezone.now() + timedelta(days=int(values["expires"]))
