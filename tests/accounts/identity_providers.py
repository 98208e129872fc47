"""Tiny identity providers: an OpenID server that signs real tokens, a SAML one that signs XML."""

from __future__ import annotations

import base64
import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from typing_extensions import override

CLIENT_ID, CLIENT_SECRET = "studio", "a secret: with a colon"
SAML, SAMLP = "urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:2.0:protocol"
xmlsec: Any = import_module("xmlsec")  # its types leave half of it out
_KEYS: dict[str, rsa.RSAPrivateKey] = {}


def key_named(name: str) -> rsa.RSAPrivateKey:
    """An RSA key; the same for the same name, since making one takes a while."""
    if name not in _KEYS:
        _KEYS[name] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _KEYS[name]


@dataclass
class OpenIdProvider:
    """What it will say next; tests change it to be wrong in one thing."""

    address: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    signs_with: str = "oidc"
    algorithm: str = "RS256"
    key_id: str = "one"
    discovery: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]], str]] = field(default_factory=list)
    pending: dict[str, dict[str, str]] = field(default_factory=dict)

    def approve(self, address: str) -> str:
        """Do what the person does there: come back with a code for what was asked."""
        asked = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
        code = uuid4().hex
        self.pending[code] = asked
        return f"{asked['redirect_uri']}?code={code}&state={asked['state']}"

    def token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        said = {
            "iss": self.address,
            "aud": CLIENT_ID,
            "sub": "subject-1",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "email": "new@alpha.example",
            "name": "New Person",
            **self.claims,
        }
        said = {key: value for key, value in said.items() if value is not None}
        headers = {"kid": self.key_id}
        if self.algorithm == "none":
            return jwt.encode(said, "", algorithm="none", headers=headers)
        if self.algorithm == "HS256":  # with the public key as if it were a shared secret
            return _hs256(said, headers, self.public_pem)
        return jwt.encode(said, key_named(self.signs_with), algorithm="RS256", headers=headers)

    @property
    def public_pem(self) -> bytes:
        return (
            key_named("oidc")
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def answer(self, path: str, form: dict[str, list[str]], header: str) -> tuple[int, Any]:
        self.asked.append((path, form, header))
        if path == "/.well-known/openid-configuration":
            endpoints = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
            said = {name: f"{self.address}/{name}" for name in endpoints}
            if self.userinfo is None:
                del said["userinfo_endpoint"]
            said |= {"issuer": self.address, "jwks_uri": f"{self.address}/keys"}
            return 200, {**said, **self.discovery}
        if path == "/keys":
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key_named("oidc").public_key()))
            return 200, {"keys": [{**key, "kid": "one", "use": "sig"}]}
        if path == "/token_endpoint":
            return self._redeem(form, header)
        if path == "/userinfo_endpoint":
            return (200, self.userinfo) if header == "Bearer access" else (401, {})
        return 404, {}

    def _redeem(self, form: dict[str, list[str]], header: str) -> tuple[int, Any]:
        asked = self.pending.pop(form["code"][0], None)
        verifier = form.get("code_verifier", [""])[0].encode()
        digest = hashes.Hash(hashes.SHA256())
        digest.update(verifier)
        challenge = base64.urlsafe_b64encode(digest.finalize()).rstrip(b"=").decode()
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        knows = header == f"Basic {basic}" or form.get("client_secret") == [CLIENT_SECRET]
        if asked is None or not knows or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        token = self.token(asked)
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": token}


def _hs256(said: dict[str, Any], headers: dict[str, str], key: bytes) -> str:
    """PyJWT refuses to sign so: an attacker would not use PyJWT."""
    import hmac

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", **headers}).encode())
    body = head + b"." + part(json.dumps(said).encode())
    return (body + b"." + part(hmac.digest(key, body, "sha256"))).decode()


@contextmanager
def open_id_provider() -> Iterator[OpenIdProvider]:
    """A running provider on loopback."""
    provider = OpenIdProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if urlsplit(self.path).path == "/authorization_endpoint":  # nobody needs be asked
                self.send_response(302)
                self.send_header("Location", provider.approve(self.path))
                self.end_headers()
                return
            self._do({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            self._do(parse_qs(self.rfile.read(length).decode()))

        def _do(self, form: dict[str, list[str]]) -> None:
            header = self.headers.get("Authorization", "")
            status, said = provider.answer(urlsplit(self.path).path, form, header)
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Tests read what was asked from `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


def certificate_named(name: str) -> str:
    """A self-signed certificate, as metadata holds it."""
    key, now = key_named(name), datetime.now(tz=UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


@dataclass
class SamlProvider:
    """What it will say next; tests change it to be wrong in one thing."""

    entity_id: str = "https://saml.alpha.example/metadata"
    sso_url: str = "https://saml.alpha.example/sso"
    subject: str = "saml-subject-1"
    attributes: dict[str, list[str]] = field(
        default_factory=lambda: {"email": ["new@alpha.example"], "groups": []}
    )
    issuer: str = ""
    audience: str = ""
    recipient: str = ""
    destination: str = ""
    in_response_to: str | None = None
    not_on_or_after: float = 300
    not_before: float = -5
    signs: bool = True
    signs_response: bool = False
    signs_with: str = "saml"
    name_format: str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
    rewrite: tuple[str, str] = ("", "")

    @property
    def metadata(self) -> str:
        certificate = certificate_named("saml")
        return (
            '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
            'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" '
            f'entityID="{self.entity_id}"><md:IDPSSODescriptor '
            'protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
            '<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>'
            f"{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" '
            f'Location="{self.sso_url}"/></md:IDPSSODescriptor></md:EntityDescriptor>'
        )

    def answer(self, address: str) -> str:
        """The form field that the person's browser brings back."""
        return base64.b64encode(self.document(address)).decode()

    def document(self, address: str) -> bytes:
        asked = parse_qs(urlsplit(address).query)["SAMLRequest"][0]
        request = etree.fromstring(zlib.decompress(base64.b64decode(asked), -15))
        root = etree.fromstring(self._text(request).replace(*self.rewrite))
        (assertion,) = root.findall(f"{{{SAML}}}Assertion")
        if self.signs:
            _sign(assertion, self.signs_with)
        if self.signs_response:
            _sign(root, self.signs_with)
        signed: bytes = etree.tostring(root)
        return signed

    def _text(self, request: Any) -> str:  # noqa: ANN401  # lxml has no types
        acs = request.get("AssertionConsumerServiceURL")
        ours = request.findtext(f"{{{SAML}}}Issuer")
        request_id = request.get("ID") if self.in_response_to is None else self.in_response_to
        answers = f'InResponseTo="{request_id}"' if request_id else ""
        issuer, recipient = self.issuer or self.entity_id, self.recipient or acs
        ends, starts = _time(self.not_on_or_after), _time(self.not_before)
        attributes = "".join(
            f'<saml:Attribute Name="{name}">'
            + "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
            + "</saml:Attribute>"
            for name, values in self.attributes.items()
            if values
        )
        return f"""<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_{uuid4().hex}"
 Version="2.0" IssueInstant="{_time(0)}" Destination="{self.destination or acs}" {answers}>
<saml:Issuer>{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode
 Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
<saml:Assertion ID="_{uuid4().hex}" Version="2.0" IssueInstant="{_time(0)}">
<saml:Issuer>{issuer}</saml:Issuer><saml:Subject><saml:NameID
 Format="{self.name_format}">{self.subject}</saml:NameID>
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
<saml:SubjectConfirmationData NotOnOrAfter="{ends}" Recipient="{recipient}" {answers}/>
</saml:SubjectConfirmation></saml:Subject>
<saml:Conditions NotBefore="{starts}" NotOnOrAfter="{ends}"><saml:AudienceRestriction>
<saml:Audience>{self.audience or ours}</saml:Audience></saml:AudienceRestriction></saml:Conditions>
<saml:AuthnStatement AuthnInstant="{_time(0)}"><saml:AuthnContext><saml:AuthnContextClassRef>
urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>
</saml:AuthnStatement><saml:AttributeStatement>{attributes}</saml:AttributeStatement>
</saml:Assertion></samlp:Response>"""


def _time(seconds: float) -> str:
    return (datetime.now(tz=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sign(element: Any, name: str) -> None:  # noqa: ANN401  # lxml has no types
    signature = xmlsec.template.create(
        element, xmlsec.Transform.EXCL_C14N, xmlsec.Transform.RSA_SHA256, ns="ds"
    )
    element.insert(1, signature)
    reference = xmlsec.template.add_reference(
        signature, xmlsec.Transform.SHA256, uri=f"#{element.get('ID')}"
    )
    xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
    xmlsec.template.add_transform(reference, xmlsec.Transform.EXCL_C14N)
    xmlsec.tree.add_ids(element, ["ID"])
    context = xmlsec.SignatureContext()
    pem = key_named(name).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context.key = xmlsec.Key.from_memory(pem, xmlsec.KeyFormat.PEM)
    context.sign(signature)
