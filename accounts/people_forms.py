"""Forms of the pages of people."""

from __future__ import annotations

import re

from django import forms


class InviteForm(forms.Form):
    """Whom to invite, as what, into which team."""

    emails = forms.CharField(
        max_length=20_000, error_messages={"required": "Give at least one e-mail address."}
    )
    role = forms.CharField(max_length=40, error_messages={"required": "Choose a role."})
    team = forms.CharField(required=False, max_length=30)

    def addresses(self) -> list[str]:
        """One by one, however they were set apart; `Bob <bob@example.org>` is bob@example.org."""
        found: list[str] = []
        for part in re.split(r"[\n,;]", self.cleaned_data["emails"]):
            _name, bracket, rest = part.rpartition("<")
            found += [rest.partition(">")[0].strip()] if bracket else part.split()
        return [address for address in found if address]


class TeamForm(forms.Form):
    """A team's name and members."""

    name = forms.CharField(max_length=80, error_messages={"required": "Give the team a name."})


class ServiceAccountForm(forms.Form):
    """A service account's name and role."""

    name = forms.CharField(
        max_length=80, error_messages={"required": "Give the service account a name."}
    )
    role = forms.CharField(max_length=40, error_messages={"required": "Choose a role."})


class JoinForm(forms.Form):
    """The account of somebody who comes by an invitation."""

    name = forms.CharField(max_length=120, error_messages={"required": "Give your name."})
    password = forms.CharField(
        strip=False, max_length=1_000, error_messages={"required": "Choose a password."}
    )


class RemovalForm(forms.Form):
    """Who takes over, and what becomes of waiting jobs."""

    successor = forms.CharField(required=False, max_length=30)
    jobs = forms.ChoiceField(
        choices=[("keep", "keep"), ("cancel", "cancel")],
        error_messages={
            "required": "Choose what becomes of waiting jobs.",
            "invalid_choice": "Choose what becomes of waiting jobs.",
        },
    )
