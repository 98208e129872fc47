"""Forms of the pages of accounts."""

from __future__ import annotations

from django import forms

from studio.core.errors import InvalidInputError


class OrganizationForm(forms.Form):
    """An organization's name."""

    name = forms.CharField(
        max_length=120, error_messages={"required": "Give the organization a name."}
    )


class OrganizationSettingsForm(OrganizationForm):
    """Its name, and the rules for signing in."""

    requires_second_factor = forms.BooleanField(required=False)
    session_hours = forms.IntegerField(
        required=False, error_messages={"invalid": "Give whole hours, or leave it empty."}
    )


def add_problems(form: forms.Form, error: InvalidInputError) -> None:
    """Show what a service refused at the fields that it names."""
    for problem in error.problems:
        field = problem.field if problem.field in form.fields else None
        form.add_error(field, problem.message)
