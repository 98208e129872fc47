"""OpenID Connect: code flow with PKCE, state and nonce; the ID token is always verified.

allauth's own view trusts a token for the line it came on and knows no nonce, so its client alone
is used. Nothing that the provider sends goes into a log or a sentence.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from allauth.socialaccount.internal import statekit
from allauth.socialaccount.providers.oauth2.client import OAuth2Client, OAuth2Error
from allauth.socialaccount.providers.oauth2.utils import generate_code_challenge
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts.models import IdentityProvider
from accounts.sign_on.outgoing import may_ask, new_session
from accounts.sign_on.providers import (
    SUBJECT_MAX,
    Claims,
    OidcConfig,
    address_of,
    claim_values,
    make_claims,
    open_config,
)
from studio.core.errors import SignOnFailedError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
CLOCK_SECONDS = 60
SCOPES = ["openid", "profile", "email"]
WELL_KNOWN = "/.well-known/openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_NOT_PROVED = "The answer of your company's sign-on could not be proved to be its own. Try again."
_NO_ANSWER = "Your company's sign-on did not answer as it should. Try again in a moment."
_STALE = "This sign-in was begun elsewhere, or too long ago. Begin again."


class DiscoveryError(Exception):
    """The issuer cannot be used; the sentence is for who configures it."""


def discover(config: OidcConfig) -> OidcConfig:
    """The same config with what the issuer's discovery document says.

    Raises:
        DiscoveryError: why it cannot be used.
    """
    issuer = config.issuer.rstrip("/")
    document = _read_document(issuer + WELL_KNOWN)
    named = str(document.get("issuer", ""))
    if named.rstrip("/") != issuer:
        raise DiscoveryError("The document at this address is of another issuer. Copy its address.")
    endpoints = {name: str(document.get(name) or "") for name in _ENDPOINTS}
    for name, address in endpoints.items():
        if not may_ask(address):
            raise DiscoveryError(
                f"The issuer's {name} is missing, or neither https nor listed in STUDIO_SSO_HOSTS."
            )
    userinfo = str(document.get("userinfo_endpoint") or "")
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    found = replace(
        config,
        issuer=named,
        userinfo_endpoint=userinfo if may_ask(userinfo) else "",
        uses_basic_auth="client_secret_post" not in methods,
        **endpoints,
    )
    if not _read_keys(found):
        raise DiscoveryError("The issuer shows no keys that its tokens could be proved with.")
    return found


def begin(request: HttpRequest, row: IdentityProvider, next_path: str) -> str:
    """Where to send the browser; what must come back is kept in its session."""
    config = _config(row)
    proof, nonce = generate_code_challenge(), secrets.token_urlsafe(32)
    state_id = secrets.token_urlsafe(32)
    state = {"next": next_path, "nonce": nonce, "verifier": proof.pop("code_verifier")}
    statekit.stash_state(request, provider_id=row.pk, state=state, state_id=state_id)
    proof["code_challenge"] = proof["code_challenge"].decode()
    client = _client(request, row, config)
    client.state = state_id
    asked: str = client.get_redirect_url("", SCOPES, {"nonce": nonce, **proof})
    address = config.authorization_endpoint  # which may have a query of its own
    return address + ("&" if urlsplit(address).query else "?") + asked.removeprefix("?")


def finish(request: HttpRequest, row: IdentityProvider) -> tuple[Claims, str]:
    """Who came back, and where they were going.

    Raises:
        SignOnFailedError: nobody who could be proved.
    """
    config = _config(row)
    state_id = request.GET.get("state", "")
    state = statekit.unstash_state(request, provider_id=row.pk, state_id=state_id)
    if state is None:
        raise SignOnFailedError(why=_STALE)
    if request.GET.get("iss", config.issuer) != config.issuer:
        raise SignOnFailedError(why=_NOT_PROVED)
    if "error" in request.GET or "code" not in request.GET:
        raise SignOnFailedError(
            why="Your company's sign-on did not let you in. Try again, or ask it."
        )
    try:
        answer = _client(request, row, config).get_access_token(
            request.GET["code"], pkce_code_verifier=state["verifier"]
        )
        token = _verified(config, str(answer.get("id_token") or ""))
        if not constant_time_compare(str(token.get("nonce", "")), state["nonce"]):
            raise jwt.InvalidTokenError  # one sentence for all of them
        claims = _completed(config, token, str(answer["access_token"]), row.role_claim)
    except jwt.PyJWTError:
        raise SignOnFailedError(why=_NOT_PROVED) from None
    except (OAuth2Error, requests.RequestException, ValueError, KeyError, TypeError):
        raise SignOnFailedError(why=_NO_ANSWER) from None
    return _claims(claims, row), str(state["next"])


def _config(row: IdentityProvider) -> OidcConfig:
    config = open_config(row)
    assert isinstance(config, OidcConfig)  # noqa: S101  # the row's kind has decided it
    return config


def _client(request: HttpRequest, row: IdentityProvider, config: OidcConfig) -> OAuth2Client:
    return OAuth2Client(
        request,
        config.client_id,
        config.client_secret,
        "POST",
        config.token_endpoint,
        address_of("sign-on-callback", row.pk),
        basic_auth=config.uses_basic_auth,
    )


def _read_document(address: str) -> Mapping[str, Any]:
    try:
        with new_session() as session:
            response = session.get(address)
            response.raise_for_status()
            document = response.json()
    except (requests.RequestException, ValueError):
        raise DiscoveryError(
            "Nothing that describes an OpenID provider could be read there. The address must be "
            "https and public, or its host must be listed in STUDIO_SSO_HOSTS."
        ) from None
    if not isinstance(document, dict):
        raise DiscoveryError("What lies at the address does not describe an OpenID provider.")
    return document


def _read_keys(config: OidcConfig) -> list[jwt.PyJWK]:
    found = _read_document(config.jwks_uri).get("keys")
    try:
        keys = jwt.PyJWKSet(found if isinstance(found, list) else []).keys
    except (jwt.PyJWTError, TypeError, ValueError):
        return []
    return [key for key in keys if key.public_key_use in (None, "sig") and key.key_type != "oct"]


def _verified(config: OidcConfig, token: str) -> dict[str, Any]:
    """The claims of an ID token whose signature, issuer, audience and times are right.

    Raises:
        jwt.PyJWTError: they are not.
    """
    key_id = jwt.get_unverified_header(token).get("kid")
    try:
        keys = _read_keys(config)
    except DiscoveryError:
        raise requests.ConnectionError from None
    if key_id is not None:
        keys = [key for key in keys if key.key_id == key_id]
    if len(keys) != 1:
        raise jwt.InvalidKeyError
    claims: dict[str, Any] = jwt.decode(
        token,
        keys[0],
        algorithms=list(ALGORITHMS),
        audience=config.client_id,
        issuer=config.issuer,
        leeway=CLOCK_SECONDS,
        options={"require": ["iss", "aud", "exp", "iat", "sub", "nonce"]},
    )
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", config.client_id if not several else "") != config.client_id:
        raise jwt.InvalidAudienceError
    return claims


def _completed(
    config: OidcConfig, token: dict[str, Any], access_token: str, role_claim: str
) -> dict[str, Any]:
    """Some providers say little in the token and the rest when asked, of the same person."""
    says_all = "email" in token and (not role_claim or claim_values(token, role_claim))
    if says_all or not config.userinfo_endpoint:
        return token
    with new_session() as session:
        header = {"Authorization": f"Bearer {access_token}"}
        response = session.get(config.userinfo_endpoint, headers=header)
        response.raise_for_status()
        more = json.loads(response.content)
    if not isinstance(more, dict) or more.get("sub") != token["sub"]:
        raise jwt.InvalidTokenError
    return {**more, **token}


def _claims(claims: Mapping[str, Any], row: IdentityProvider) -> Claims:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_MAX:
        raise SignOnFailedError(why=_NOT_PROVED)
    return make_claims(
        row,
        subject=subject,
        email=str(claims.get("email") or claims.get("preferred_username") or ""),
        name=str(claims.get("name") or ""),
        values=claim_values(claims, row.role_claim) if row.role_claim else (),
    )
