"""SAML 2.0, by python3-saml in its strict mode, and a little stricter.

The provider's answer comes as a form from another site, without our session. It is proved there;
what it says goes on, sealed, in a cookie of two minutes to the page that has the session and knows
which request was answered. So an answer counts once, in the browser that asked for it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode, urlsplit

from allauth.socialaccount.internal import statekit
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from onelogin.saml2.authn_request import OneLogin_Saml2_Authn_Request
from onelogin.saml2.constants import OneLogin_Saml2_Constants as Names
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from accounts.models import IdentityProvider
from accounts.services.organization_keys import open_for, seal_for
from accounts.sign_on.providers import (
    SUBJECT_MAX,
    Claims,
    SamlConfig,
    address_of,
    make_claims,
    open_config,
)
from gpuagent.protocol.sealing import SealBrokenError
from studio.core.errors import SignOnFailedError

logger = logging.getLogger(__name__)
CLOCK_SECONDS = 60
TICKET = "sign_on_ticket"
TICKET_SECONDS = 120
ASSERTION_HOURS_MAX = 24
EMAIL_NAMES = (
    "email",
    "mail",
    "urn:oid:0.9.2342.19200300.100.1.3",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
)
NAME_NAMES = (
    "name",
    "displayName",
    "urn:oid:2.16.840.1.113730.3.1.241",
    "http://schemas.microsoft.com/identity/claims/displayname",
)
TRANSIENT = Names.NAMEID_TRANSIENT
_DS = f"{{{Names.NS_DS}}}"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
# All that SAML lets a signature do to what it signs (core, 5.4.4).
TRANSFORMS = {
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    _EXCLUSIVE,
    _EXCLUSIVE + "WithComments",
}
_NOT_PROVED = "The answer of your company's sign-on could not be proved to be its own. Try again."
_STALE = "This sign-in was begun elsewhere, or too long ago. Begin again."


def begin(request: HttpRequest, row: IdentityProvider, next_path: str) -> str:
    """Where to send the browser; what must come back is kept in its session."""
    strict = _settings(row)
    asked = OneLogin_Saml2_Authn_Request(strict, set_nameid_policy=False)
    state = {"next": next_path}
    statekit.stash_state(request, provider_id=row.pk, state=state, state_id=asked.get_id())
    address = _config(row).sso_url
    mark = "&" if urlsplit(address).query else "?"
    return address + mark + urlencode({"SAMLRequest": asked.get_request()})


def receive(request: HttpRequest, row: IdentityProvider, response: HttpResponse) -> None:
    """Prove the answer that another site has posted, and give it to `finish`.

    Raises:
        SignOnFailedError: it is not the provider's, not for us, not for now, or came before.
    """
    strict = _settings(row)
    try:
        answer = StrictResponse(strict, request.POST.get("SAMLResponse", ""))
        request_id, claims = answer.prove(row)
    except Exception as error:  # python3-saml raises bare ones, too
        # The code alone: sentences of python3-saml quote what they were sent.
        raise _refused(row, getattr(error, "code", type(error).__name__)) from None
    if not _is_first(row, answer):
        raise _refused(row, "a response that came before")
    ticket = {"at": time.time(), "request": request_id, "claims": asdict(claims)}
    sealed = seal_for(row.organization, json.dumps(ticket).encode(), kind=TICKET, object_id=row.pk)
    response.set_cookie(
        TICKET,
        base64.urlsafe_b64encode(sealed).decode(),
        max_age=TICKET_SECONDS,
        path=f"/sso/{row.pk}/",
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _refused(row: IdentityProvider, code: object) -> SignOnFailedError:
    logger.info("%s: an answer was refused (%s)", row.pk, code)
    return SignOnFailedError(why=_NOT_PROVED)


def _is_first(row: IdentityProvider, answer: StrictResponse) -> bool:
    digest = hashlib.sha256(f"{row.pk} {answer.get_assertion_id()}".encode()).hexdigest()
    return bool(cache.add(f"sign_on:{digest}", 1, timeout=int(_LIFE_MAX) + 2 * CLOCK_SECONDS))


def finish(request: HttpRequest, row: IdentityProvider) -> tuple[Claims, str]:
    """Who came back, and where they were going.

    Raises:
        SignOnFailedError: this browser has not asked for it, or not lately.
    """
    try:
        sealed = base64.urlsafe_b64decode(request.COOKIES.get(TICKET, ""))
        ticket = json.loads(open_for(row.organization, sealed, kind=TICKET, object_id=row.pk))
    except (ValueError, SealBrokenError):
        raise SignOnFailedError(why=_STALE) from None
    state = statekit.unstash_state(request, provider_id=row.pk, state_id=ticket["request"])
    if state is None or time.time() - ticket["at"] > TICKET_SECONDS:
        raise SignOnFailedError(why=_STALE)
    claims = ticket["claims"]
    return Claims(**{**claims, "values": tuple(claims["values"])}), str(state["next"])


def metadata(row: IdentityProvider) -> str:
    """What the provider is told of us."""
    text: str | bytes = _settings(row).get_sp_metadata()
    return text.decode() if isinstance(text, bytes) else text


class AnswerError(ValueError):
    """An answer that does not do; `code` says why, in words of ours."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class StrictResponse(OneLogin_Saml2_Response):  # type: ignore[misc]  # python3-saml ships no types
    """A response of which only what is signed, for us and for this request counts."""

    def prove(self, row: IdentityProvider) -> tuple[str, Claims]:
        """The id of our request, and who the provider says it was.

        Raises:
            Exception: anything is wrong; ours are of `AnswerError`.
        """
        if self.encrypted:
            raise AnswerError("an encrypted assertion: there is no key of ours")
        self._check_references()
        target = urlsplit(address_of("sign-on-acs", row.pk))
        here = {
            "https": "on" if target.scheme == "https" else "off",
            "http_host": target.netloc,
            "script_name": target.path,
        }
        self.is_valid(here, raise_exceptions=True)
        self._check_audiences(address_of("sign-on-metadata", row.pk))
        if len(self.get_issuers()) != 1:
            raise AnswerError("no issuer")
        request_id = self._confirmed_request(address_of("sign-on-acs", row.pk))
        return request_id, self._claims(row)

    def _check_references(self) -> None:
        """A signature names the element that it stands in, and nothing else.

        Whatever else it names, a file on this machine or a style sheet, would be read before it
        turned out that the signature is nobody's.
        """
        for signature in self.document.iter(_DS + "Signature"):
            named = [node for node in signature.iter("*") if node.get("URI") is not None]
            references = signature.findall(f"{_DS}SignedInfo/{_DS}Reference")
            own = "#" + signature.getparent().get("ID", "")
            if len(references) != 1 or named != references or named[0].get("URI") != own:
                raise AnswerError("a signature of something else")
            used = {node.get("Algorithm") for node in signature.iter(_DS + "Transform")}
            if not used <= TRANSFORMS:
                raise AnswerError("a signature of something made from what was sent")

    def _check_audiences(self, ours: str) -> None:
        """Each restriction holds, not just one of them."""
        found = self._query_assertion("/saml:Conditions/saml:AudienceRestriction")
        for restriction in found:
            names = {OneLogin_Saml2_XML.element_text(node) for node in restriction}
            if ours not in names:
                raise AnswerError("another audience")
        if not found:
            raise AnswerError("no audience")

    def validate_timestamps(self, **_options: object) -> bool:
        """As python3-saml, with a smaller tolerance, and an end that must be there."""
        now = OneLogin_Saml2_Utils.now()
        for node in self._query_assertion("/saml:Conditions"):
            starts, ends = node.get("NotBefore"), node.get("NotOnOrAfter")
            if starts and _seconds(starts) > now + CLOCK_SECONDS:
                raise AnswerError("not yet valid")
            if not ends or not now - CLOCK_SECONDS < _seconds(ends) < now + _LIFE_MAX:
                raise AnswerError("expired")
        return True

    def _confirmed_request(self, recipient: str) -> str:
        """The request that the signed part answers: the outer one may be anybody's words."""
        bearer = f"saml:SubjectConfirmation[@Method='{Names.CM_BEARER}']"
        path = f"/saml:Subject/{bearer}/saml:SubjectConfirmationData"
        earliest = OneLogin_Saml2_Utils.now() - CLOCK_SECONDS
        for node in self._query_assertion(path):
            request_id, ends = node.get("InResponseTo"), node.get("NotOnOrAfter")
            is_for_us = node.get("Recipient") == recipient
            if request_id and is_for_us and ends and _seconds(ends) > earliest:
                if self.get_in_response_to() != request_id:
                    break
                return str(request_id)
        raise AnswerError("no confirmation of the subject for this request and address")

    def _claims(self, row: IdentityProvider) -> Claims:
        subject = self.get_nameid()
        if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_MAX:
            raise AnswerError("no name, or too long a one")
        if self.get_nameid_format() == TRANSIENT:
            raise AnswerError("a name for this once")
        found: dict[str, list[Any]] = {
            **self.get_friendlyname_attributes(),
            **self.get_attributes(),
        }
        email = _first(found, EMAIL_NAMES) or (subject if "@" in subject else "")
        values = [value for value in found.get(row.role_claim, []) if isinstance(value, str)]
        name = _first(found, NAME_NAMES)
        return make_claims(row, subject=subject, email=email, name=name, values=values)


_LIFE_MAX = ASSERTION_HOURS_MAX * 3_600.0


def _config(row: IdentityProvider) -> SamlConfig:
    config = open_config(row)
    assert isinstance(config, SamlConfig)  # noqa: S101  # the row's kind has decided it
    return config


def _settings(row: IdentityProvider) -> OneLogin_Saml2_Settings:
    config = _config(row)
    return OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": address_of("sign-on-metadata", row.pk),
                "assertionConsumerService": {
                    "url": address_of("sign-on-acs", row.pk),
                    "binding": Names.BINDING_HTTP_POST,
                },
                "NameIDFormat": Names.NAMEID_PERSISTENT,
            },
            "idp": {
                "entityId": config.entity_id,
                "singleSignOnService": {"url": config.sso_url},
                "x509certMulti": {"signing": list(config.certificates)},
            },
            "security": {
                "wantAssertionsSigned": True,
                "wantNameId": True,
                "wantAttributeStatement": False,
                "allowRepeatAttributeName": True,
                "requestedAuthnContext": False,
                "rejectDeprecatedAlgorithm": True,
                "allowSingleLabelDomains": True,
            },
        }
    )


def _seconds(text: str) -> float:
    return float(OneLogin_Saml2_Utils.parse_SAML_to_time(text))


def _first(found: dict[str, list[Any]], names: tuple[str, ...]) -> str:
    for name in names:
        for value in found.get(name, []):
            if isinstance(value, str):
                return value
    return ""


def parse_metadata(text: str | bytes) -> SamlConfig:
    """The provider that a metadata document describes.

    Raises:
        ValueError: the sentence says what is missing.
    """
    raw = text.encode() if isinstance(text, str) else text
    try:
        root = OneLogin_Saml2_XML.to_etree(raw)
    except Exception:  # lxml and its guard raise many kinds; all mean the same
        raise ValueError("This is no XML that could be read. Paste the whole document.") from None
    entities = root.xpath("descendant-or-self::md:EntityDescriptor", namespaces=Names.NSMAP)
    entities = [e for e in entities if e.find("md:IDPSSODescriptor", Names.NSMAP) is not None]
    if len(entities) != 1:
        raise ValueError(f"The document describes {len(entities)} identity providers, not one.")
    role = entities[0].find("md:IDPSSODescriptor", Names.NSMAP)
    services = role.findall("md:SingleSignOnService", Names.NSMAP)
    addresses = [s.get("Location") for s in services if s.get("Binding") == _REDIRECT]
    if not addresses:
        raise ValueError("The document names no sign-on address of the kind HTTP-Redirect.")
    found = role.xpath(
        "md:KeyDescriptor[not(@use='encryption')]//ds:X509Certificate", namespaces=Names.NSMAP
    )
    certificates = tuple(dict.fromkeys("".join((node.text or "").split()) for node in found))
    if not certificates:
        raise ValueError("The document holds no certificate for signatures.")
    entity_id = entities[0].get("entityID") or ""
    return SamlConfig(entity_id=entity_id, sso_url=addresses[0], certificates=certificates)


_REDIRECT = Names.BINDING_HTTP_REDIRECT
