"""Forms of ours in place of allauth's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from allauth.core import context
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, generate_totp_secret
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django import forms
from fido2.webauthn import AuthenticationResponse, RegistrationResponse
from typing_extensions import override

from accounts.second_factor import open_secret, seal_secret

NAME_MAX = 80


class SealedActivateTOTPForm(ActivateTOTPForm):  # type: ignore[misc]  # allauth ships no types
    """Allauth keeps the secret in the session, which is a row, until the first code is right.

    Here it waits there sealed; allauth takes it away under the same name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Django's signature
        self.user = kwargs.pop("user")
        forms.Form.__init__(self, *args, **kwargs)
        session = context.request.session
        waiting = session.get(SECRET_SESSION_KEY) if self.is_bound else None
        self.secret = open_secret(waiting) if waiting else generate_totp_secret()
        if not waiting:
            session[SECRET_SESSION_KEY] = seal_secret(self.secret)


class CredentialField(forms.JSONField):
    """What a browser's passkey answered. Allauth reads it, too, but takes a spoiled one badly."""

    def __init__(self, read: Callable[[Any], object]) -> None:
        super().__init__(widget=forms.HiddenInput)
        self.error_messages["required"] = self.error_messages["invalid"]
        self.read = read

    default_error_messages = {"invalid": "This passkey could not be read. Try it once more."}

    @override
    def clean(self, value: Any) -> Any:
        """The answer, as allauth wants it."""
        answer = super().clean(value)
        try:
            self.read(answer)
        except (TypeError, ValueError, LookupError, AttributeError, struct.error):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        return answer


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]  # allauth ships no types
    """A new passkey and its name."""

    name = forms.CharField(required=False, max_length=NAME_MAX)
    credential = CredentialField(RegistrationResponse.from_dict)


class RenamePasskeyForm(EditWebAuthnForm):  # type: ignore[misc]  # same
    """A name for a passkey."""

    name = forms.CharField(max_length=NAME_MAX)


class AuthenticatePasskeyForm(AuthenticateWebAuthnForm):  # type: ignore[misc]  # same
    """The second step after a password."""

    credential = CredentialField(AuthenticationResponse.from_dict)


class LoginPasskeyForm(LoginWebAuthnForm):  # type: ignore[misc]  # same
    """A passkey in place of a password."""

    credential = CredentialField(AuthenticationResponse.from_dict)


class ConfirmPasskeyForm(ReauthenticateWebAuthnForm):  # type: ignore[misc]  # same
    """A passkey once more, before something that guards the account."""

    credential = CredentialField(AuthenticationResponse.from_dict)
