"""Forms of the sign-on page. Secrets are written, never shown."""

from __future__ import annotations

import base64
from typing import Any

import requests
from cryptography import x509
from django import forms
from django.http import QueryDict
from typing_extensions import override

from accounts.models import IdentityProvider
from accounts.roles import Role
from accounts.services.sign_on import Terms
from accounts.sign_on.oidc import WELL_KNOWN, DiscoveryError, discover
from accounts.sign_on.outgoing import may_ask, new_session
from accounts.sign_on.providers import GIVEN, Config, OidcConfig, SamlConfig
from accounts.sign_on.saml import parse_metadata

ROLES = [("", "nobody else gets in"), *((role.value, role.value) for role in GIVEN)]
MAPPINGS_MAX = 200
VALUE_MAX = 200
KEY_BITS_MIN = 2048
# Anybody can have an account there, so that a role for everybody would be one for the whole world.
PUBLIC_ISSUERS = frozenset(
    {
        "https://accounts.google.com",
        "https://appleid.apple.com",
        "https://gitlab.com",
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        "https://www.facebook.com",
        "https://www.linkedin.com/oauth",
    }
)


class TermsForm(forms.Form):
    """What is common to both kinds; the table of roles comes as two lists beside the form."""

    name = forms.CharField(
        max_length=80, error_messages={"required": "Give it a name people know."}
    )
    role_claim = forms.CharField(max_length=200, required=False)
    default_role = forms.ChoiceField(choices=ROLES, required=False)
    covers_second_factor = forms.BooleanField(required=False)

    def __init__(
        self, data: QueryDict | None, *, initial: dict[str, Any], present: Config | None
    ) -> None:
        super().__init__(data, initial=initial)
        self.present = present
        self.mapping: list[tuple[str, str]] = list(initial.get("mapping", []))
        if data is not None:
            values, roles = data.getlist("mapping_value"), data.getlist("mapping_role")
            pairs = zip(values, roles, strict=False)
            self.mapping = [(value.strip(), role) for value, role in pairs if value.strip()]

    @override
    def clean(self) -> dict[str, Any]:
        """The table: each value once, with a role that there is."""
        values = super().clean() or {}
        named = [value for value, _role in self.mapping]
        roles = {role.value for role in GIVEN}
        if len(named) > MAPPINGS_MAX or any(len(value) > VALUE_MAX for value in named):
            self.add_error(
                "role_claim", f"At most {MAPPINGS_MAX} values of {VALUE_MAX} characters are mapped."
            )
        elif len(set(named)) != len(named):
            self.add_error("role_claim", "A value stands in the table twice. Keep one of the two.")
        elif any(role not in roles for _value, role in self.mapping):
            self.add_error("role_claim", "Choose a role for each value.")
        elif self.mapping and not values.get("role_claim"):
            self.add_error("role_claim", "Name the claim or attribute that holds these values.")
        return values

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The table with room for three more."""
        return [*self.mapping, *[("", "")] * 3]

    def terms(self) -> Terms:
        """What the service takes."""
        values = self.cleaned_data
        return Terms(
            name=values["name"],
            role_claim=values["role_claim"],
            role_mapping={value: Role(role) for value, role in self.mapping},
            default_role=Role(values["default_role"]) if values["default_role"] else None,
            covers_second_factor=values["covers_second_factor"],
        )


class OidcForm(TermsForm):
    """An OpenID provider. Saving reads its discovery document."""

    issuer = forms.CharField(max_length=500, error_messages={"required": "Give its address."})
    client_id = forms.CharField(max_length=200, error_messages={"required": "Give the client id."})
    client_secret = forms.CharField(max_length=1_000, required=False, strip=True)
    config: OidcConfig

    def clean_issuer(self) -> str:
        """The issuer, also out of the address of its discovery document."""
        issuer: str = self.cleaned_data["issuer"].removesuffix(WELL_KNOWN)
        if not may_ask(issuer):
            raise forms.ValidationError(
                "This must be an https address. One inside your network must be listed in "
                "STUDIO_SSO_HOSTS by whoever runs the studio."
            )
        return issuer

    @override
    def clean(self) -> dict[str, Any]:
        values = super().clean()
        present = self.present if isinstance(self.present, OidcConfig) else None
        secret = values.get("client_secret") or ""
        is_same = present is not None and present.issuer.rstrip("/") == str(
            values.get("issuer", "")
        ).rstrip("/")
        if not secret and not (present and is_same):
            # A secret of before is not sent to another issuer.
            self.add_error("client_secret", "Give the client secret.")
        if values.get("default_role") and str(values.get("issuer")).rstrip("/") in PUBLIC_ISSUERS:
            self.add_error(
                "default_role",
                "Anybody can have an account there. Choose “nobody else gets in”, and map a value "
                "that only your people have, such as your domain in Google's claim hd.",
            )
        if self.errors:
            return values
        config = OidcConfig(
            issuer=values["issuer"],
            client_id=values["client_id"],
            client_secret=secret or (present.client_secret if present else ""),
        )
        try:
            self.config = discover(config)
        except DiscoveryError as error:
            self.add_error("issuer", str(error))
        return values


class SamlForm(TermsForm):
    """A SAML identity provider, by its metadata: pasted, or read from an address."""

    metadata = forms.CharField(max_length=200_000, required=False)
    metadata_url = forms.CharField(max_length=500, required=False)
    config: SamlConfig

    @override
    def clean(self) -> dict[str, Any]:
        values = super().clean()
        present = self.present if isinstance(self.present, SamlConfig) else None
        field = "metadata_url" if values.get("metadata_url") else "metadata"
        text = values.get("metadata") or ""
        if field == "metadata" and not text and present is not None:
            self.config = present
            return values
        if field == "metadata" and not text:
            self.add_error(field, "Paste the provider's metadata, or give its address.")
        if self.errors:
            return values
        try:
            content = _read(values["metadata_url"]) if field == "metadata_url" else text
            self.config = _checked(parse_metadata(content))
        except ValueError as error:
            self.add_error(field, str(error))
        return values


def _read(address: str) -> bytes:
    try:
        with new_session() as session:
            response = session.get(address)
            response.raise_for_status()
            return response.content
    except requests.RequestException:
        raise ValueError(
            "Nothing could be read there. The address must be https and public, or its host must "
            "be listed in STUDIO_SSO_HOSTS. Else paste the metadata."
        ) from None


def _checked(config: SamlConfig) -> SamlConfig:
    """The same, after a look at what will be relied on.

    Raises:
        ValueError: the sentence says what is wrong.
    """
    if not config.entity_id:
        raise ValueError("The document names no entity id.")
    if not may_ask(config.sso_url):
        raise ValueError("Its sign-on address is neither https nor listed in STUDIO_SSO_HOSTS.")
    for text in config.certificates:
        read_certificate(text)
    return config


def read_certificate(text: str) -> x509.Certificate:
    """A certificate out of metadata.

    Raises:
        ValueError: it is none, or its key is too short.
    """
    try:
        found = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        bits = getattr(found.public_key(), "key_size", KEY_BITS_MIN)
    except ValueError:
        raise ValueError("A certificate in it could not be read.") from None
    is_rsa = "rsa" in type(found.public_key()).__module__
    if is_rsa and bits < KEY_BITS_MIN:
        raise ValueError(f"Its key has {bits} bits; at least {KEY_BITS_MIN} are needed.")
    return found


def initial_of(row: IdentityProvider, config: Config) -> dict[str, Any]:
    """What the form shows of a provider: all but the secret."""
    shown: dict[str, Any] = {
        "name": row.name,
        "role_claim": row.role_claim,
        "default_role": row.default_role,
        "covers_second_factor": row.covers_second_factor,
        "mapping": list(row.role_mapping.items()),
    }
    if isinstance(config, OidcConfig):
        shown |= {"issuer": config.issuer, "client_id": config.client_id}
    return shown
