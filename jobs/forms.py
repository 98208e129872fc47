"""Forms of the pages of projects and share links."""

from __future__ import annotations

from django import forms

from jobs.services.sharing import DAYS_DEFAULT, DAYS_MAX, Terms
from studio.core.errors import InvalidInputError


class ShareForm(forms.Form):
    """A new share link: what it shows, to whom, for how long. The services check the limits."""

    what = forms.ChoiceField(
        choices=[("pictures", "pictures"), ("project", "project")],
        initial="pictures",
        error_messages={"required": "Choose what to share."},
    )
    project = forms.CharField(required=False)
    outputs = forms.MultipleChoiceField(required=False)
    title = forms.CharField(required=False)
    days = forms.IntegerField(
        initial=DAYS_DEFAULT,
        error_messages={
            "required": f"Give a number of days from 1 to {DAYS_MAX}.",
            "invalid": "Give whole days.",
        },
    )
    password = forms.CharField(required=False, strip=False)
    has_watermark = forms.BooleanField(required=False)
    watermark_text = forms.CharField(required=False)
    shows_metadata = forms.BooleanField(required=False)

    def offer(self, output_ids: list[str]) -> None:
        """Any ids are taken here; the service knows which are pictures of the workspace."""
        field = self.fields["outputs"]
        if isinstance(field, forms.MultipleChoiceField):
            field.choices = [(output_id, output_id) for output_id in output_ids]

    def terms(self) -> Terms:
        """What the form asks for."""
        names = ("title", "days", "password", "has_watermark", "watermark_text", "shows_metadata")
        return Terms(**{name: self.cleaned_data[name] for name in names})


def show_problems(form: forms.Form, error: InvalidInputError) -> None:
    """Put what a service refused at the fields that it names."""
    for problem in error.problems:
        field = problem.field if problem.field in form.fields else None
        form.add_error(field, problem.message)
