"""Coming in by a SAML provider: who gets in, and every way in which an answer can be wrong."""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from lxml import etree

from accounts.models import IdentityProvider, Membership, Organization, User
from accounts.sign_on.saml import parse_metadata
from tests.accounts.identity_providers import SAML, SAMLP, SamlProvider
from tests.accounts.signing_on import come_by_saml, make_saml, post_answer, set_off
from tests.answers import text_of
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def there() -> SamlProvider:
    return SamlProvider()


@pytest.fixture
def row(organization_a: Organization, there: SamlProvider) -> IdentityProvider:
    return make_saml(organization_a, there, role_claim="groups")


def refused(client: Client, row: IdentityProvider, document: bytes) -> bool:
    """Whether nobody came in by it."""
    answer = post_answer(client, row, base64.b64encode(document).decode())
    assert answer.status_code == 403, answer.content
    assert "_auth_user_id" not in client.session
    assert not User.objects.filter(email__endswith="@alpha.example").exists()
    return True


def test_a_newcomer_gets_an_account_and_a_membership_in_that_organization(
    client: Client, row: IdentityProvider, there: SamlProvider, workspace: Workspace
) -> None:
    answer = come_by_saml(client, row, there, f"/w/{workspace.pk}/")
    assert answer["Location"] == f"/w/{workspace.pk}/"
    assert client.get(f"/w/{workspace.pk}/").status_code == 200
    (membership,) = Membership.objects.filter(user__email="new@alpha.example")
    assert (membership.organization_id, membership.role) == (row.organization_id, "artist")


def test_a_signed_response_around_a_signed_assertion_is_taken(
    client: Client, row: IdentityProvider, there: SamlProvider
) -> None:
    there.signs_response = True
    assert come_by_saml(client, row, there).status_code == 302


# What is wrong, and by which code it is found out: python3-saml's numbers, and words of ours.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "audience": ({"audience": "https://another.example"}, "26"),
    "issuer": ({"issuer": "https://evil.example"}, "29"),
    "destination": ({"destination": "https://another.example/acs"}, "24"),
    "recipient": ({"recipient": "https://another.example/acs"}, "31"),
    "expired": ({"not_on_or_after": -90}, "expired"),
    "valid for too long": ({"not_on_or_after": 3 * 86_400}, "expired"),
    "not yet valid": ({"not_before": 120}, "not yet valid"),
    "unsigned": ({"signs": False}, "33"),
    "only the response signed": ({"signs": False, "signs_response": True}, "33"),
    "signed by another": ({"signs_with": "another"}, "42"),
    "asked by nobody": ({"in_response_to": ""}, "no confirmation"),
    "a name for this once": (
        {"name_format": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"},
        "a name for this once",
    ),
    "no name": ({"subject": ""}, "39"),
    "too long a name": ({"subject": "x" * 192}, "no name, or too long"),
}


@pytest.mark.parametrize(("wrong", "code"), WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_is_wrong_in_one_thing_lets_nobody_in(
    client: Client,
    row: IdentityProvider,
    there: SamlProvider,
    wrong: dict[str, Any],
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for name, value in wrong.items():
        setattr(there, name, value)
    assert refused(client, row, there.document(set_off(client, row)))
    assert f"{row.pk}: an answer was refused ({code}" in caplog.text
    assert "evil" not in caplog.text


def test_an_answer_to_a_request_that_nobody_made_lets_nobody_in(
    client: Client, row: IdentityProvider, there: SamlProvider
) -> None:
    there.in_response_to = "_0123456789abcdef"
    assert refused(client, row, there.document(set_off(client, row)))


@pytest.mark.parametrize("answer", ["", "!", "PHhtbD4=", base64.b64encode(b"<a/>").decode()])
def test_what_is_no_response_lets_nobody_in(
    client: Client, row: IdentityProvider, answer: str
) -> None:
    assert post_answer(client, row, answer).status_code == 403


def test_entities_are_not_resolved(
    client: Client, row: IdentityProvider, there: SamlProvider
) -> None:
    document = there.document(set_off(client, row)).decode()
    head = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    changed = head + document.replace("new@alpha.example", "&e;")
    assert refused(client, row, changed.encode())


def test_an_answer_counts_once(client: Client, row: IdentityProvider, there: SamlProvider) -> None:
    answer = there.answer(set_off(client, row))
    assert post_answer(client, row, answer).status_code == 302
    assert post_answer(Client(), row, answer).status_code == 403
    cache.clear()  # even if Redis has lost its memory: the request was answered
    assert post_answer(client, row, answer).status_code == 403


def test_an_answer_counts_only_in_the_browser_that_asked(
    client: Client, row: IdentityProvider, there: SamlProvider
) -> None:
    answer = there.answer(set_off(client, row))
    victim = Client()
    set_off(victim, row)
    assert post_answer(victim, row, answer).status_code == 403
    assert "_auth_user_id" not in victim.session


def test_a_signed_assertion_cannot_be_put_into_an_answer_to_another_request(
    client: Client, row: IdentityProvider, there: SamlProvider
) -> None:
    """The outer element is not signed: whoever has stolen an assertion may write what they like."""
    stolen = etree.fromstring(there.document(set_off(Client(), row)))
    mine = etree.fromstring(there.document(set_off(client, row)))
    stolen.set("InResponseTo", mine.get("InResponseTo"))
    assert refused(client, row, etree.tostring(stolen))


def test_an_answer_for_one_organization_does_not_open_another(
    client: Client, row: IdentityProvider, there: SamlProvider, organization_b: Organization
) -> None:
    other = make_saml(organization_b, there)
    set_off(client, other)
    assert post_answer(client, other, there.answer(set_off(client, row))).status_code == 403


def _evil(root: Any) -> Any:  # noqa: ANN401  # lxml has no types
    """A copy of the assertion that says somebody else, without its signature."""
    evil = deepcopy(root.find(f"{{{SAML}}}Assertion"))
    evil.remove(evil.find("{http://www.w3.org/2000/09/xmldsig#}Signature"))
    evil.set("ID", "_evil")
    evil.find(f".//{{{SAML}}}NameID").text = "somebody-else"
    return evil


def _evil_first(root: Any) -> None:  # noqa: ANN401  # as above
    root.insert(0, _evil(root))


def _evil_last(root: Any) -> None:  # noqa: ANN401  # as above
    root.append(_evil(root))


def _same_id(root: Any) -> None:  # noqa: ANN401  # as above
    evil = _evil(root)
    evil.set("ID", root.find(f"{{{SAML}}}Assertion").get("ID"))
    root.insert(0, evil)


def _signed_within_evil(root: Any) -> None:  # noqa: ANN401  # as above
    evil, good = _evil(root), root.find(f"{{{SAML}}}Assertion")
    root.replace(good, evil)
    evil.append(good)


def _signed_within_signature(root: Any) -> None:  # noqa: ANN401  # as above
    evil, good = _evil(root), root.find(f"{{{SAML}}}Assertion")
    signature = good.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    root.replace(good, evil)
    evil.insert(1, signature)
    holder = etree.SubElement(signature, "{http://www.w3.org/2000/09/xmldsig#}Object")
    holder.append(good)


def _signed_in_extensions(root: Any) -> None:  # noqa: ANN401  # as above
    evil, good = _evil(root), root.find(f"{{{SAML}}}Assertion")
    root.replace(good, evil)
    holder = etree.Element(f"{{{SAMLP}}}Extensions")
    holder.append(good)
    root.insert(1, holder)


def _other_name(root: Any) -> None:  # noqa: ANN401  # as above
    root.find(f".//{{{SAML}}}NameID").text = "somebody-else"


def _comment_in_name(root: Any) -> None:  # noqa: ANN401  # as above
    """Canonical XML leaves comments out: the signature holds, and readers must not stop at it."""
    name = root.find(f".//{{{SAML}}}NameID")
    whole = name.text
    name.text = whole[:4]
    comment = etree.Comment("x")
    comment.tail = whole[4:]
    name.append(comment)


@pytest.mark.parametrize(
    "wrap",
    [
        _evil_first,
        _evil_last,
        _same_id,
        _signed_within_evil,
        _signed_within_signature,
        _signed_in_extensions,
        _other_name,
    ],
)
def test_what_is_wrapped_around_a_signed_assertion_is_not_believed(
    client: Client, row: IdentityProvider, there: SamlProvider, wrap: Callable[[Any], None]
) -> None:
    root = etree.fromstring(there.document(set_off(client, row)))
    before = etree.tostring(root)
    wrap(root)
    assert etree.tostring(root) != before
    assert refused(client, row, etree.tostring(root))


def test_a_comment_does_not_cut_a_name_short(
    client: Client, row: IdentityProvider, there: SamlProvider
) -> None:
    root = etree.fromstring(there.document(set_off(client, row)))
    _comment_in_name(root)
    answer = post_answer(client, row, base64.b64encode(etree.tostring(root)).decode())
    assert answer.status_code == 302
    come_by_saml(again := Client(), row, there)
    assert again.session["_auth_user_id"] == client.session["_auth_user_id"]


def test_our_side_is_described_for_the_provider(client: Client, row: IdentityProvider) -> None:
    text = text_of(client.get(f"/sso/{row.pk}/metadata"))
    assert f"/sso/{row.pk}/acs" in text
    assert "WantAssertionsSigned" in text


def test_metadata_of_two_providers_is_not_guessed_at(there: SamlProvider) -> None:
    one = there.metadata
    both = '<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">'
    with pytest.raises(ValueError, match="2 identity providers"):
        parse_metadata(both + one + one + "</md:EntitiesDescriptor>")
    assert parse_metadata(one).entity_id == there.entity_id
    with pytest.raises(ValueError, match="no XML"):
        parse_metadata("<md")


DS = "{http://www.w3.org/2000/09/xmldsig#}"
XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"


def _second_reference(signature: Any, file: Path) -> None:  # noqa: ANN401  # as above
    reference = signature.find(f".//{DS}Reference")
    other = deepcopy(reference)
    other.set("URI", f"file://{file}")
    other.remove(other.find(f"{DS}Transforms"))
    reference.addnext(other)


def _only_reference(signature: Any, file: Path) -> None:  # noqa: ANN401  # as above
    reference = signature.find(f".//{DS}Reference")
    reference.set("URI", f"file://{file}")
    reference.remove(reference.find(f"{DS}Transforms"))


def _key_elsewhere(signature: Any, file: Path) -> None:  # noqa: ANN401  # as above
    key = etree.SubElement(signature, f"{DS}KeyInfo")
    etree.SubElement(key, f"{DS}RetrievalMethod", URI=f"file://{file}")


def _style_sheet(signature: Any, file: Path) -> None:  # noqa: ANN401  # as above
    transform = signature.find(f".//{DS}Transform")
    transform.set("Algorithm", XSLT)
    transform.append(
        etree.XML(
            '<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform" version="1.0">'
            f'<x:template match="/"><x:value-of select="document(\'file://{file}\')"/>'
            "</x:template></x:stylesheet>"
        )
    )


@pytest.mark.parametrize(
    "change", [_second_reference, _only_reference, _key_elsewhere, _style_sheet]
)
def test_a_signature_makes_the_studio_read_nothing_else(
    client: Client,
    row: IdentityProvider,
    there: SamlProvider,
    change: Callable[[Any, Path], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anybody may write a signature: that it is nobody's turns out after its parts were read."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "file"
    os.mkfifo(file)
    reader = threading.Event()

    def wait() -> None:
        with file.open("w"):  # goes on when somebody reads
            reader.set()

    threading.Thread(target=wait, daemon=True).start()
    there.signs_with = "another"
    root = etree.fromstring(there.document(set_off(client, row)))
    change(root.find(f".//{DS}Signature"), file)
    assert refused(client, row, etree.tostring(root))
    assert not reader.is_set()
    assert "refused (a signature of something" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'Z" Recipient', b'+00:00" Recipient', "Exception"),
        (
            b"</saml:AudienceRestriction>",
            b"</saml:AudienceRestriction><saml:AudienceRestriction><saml:Audience>other"
            b"</saml:Audience></saml:AudienceRestriction>",
            "another audience",
        ),
        (b"cm:bearer", b"cm:sender-vouches", "31"),
    ],
)
def test_what_the_provider_itself_has_signed_amiss_lets_nobody_in(
    client: Client,
    row: IdentityProvider,
    there: SamlProvider,
    caplog: pytest.LogCaptureFixture,
    old: bytes,
    new: bytes,
    code: str,
) -> None:
    caplog.set_level(logging.INFO)
    there.rewrite = (old.decode(), new.decode())
    assert refused(client, row, there.document(set_off(client, row)))
    assert caplog.messages[-1] == f"{row.pk}: an answer was refused ({code})" or code == "31"
    assert "T" not in caplog.messages[-1].split("(", 1)[1], "no words of what was sent"


def test_somebody_in_hundreds_of_groups_gets_in(
    client: Client, organization_a: Organization, there: SamlProvider
) -> None:
    """What the browser carries from one page to the next must fit into a cookie."""
    groups = [f"{number:08d}-4ac5-4bb5-a1b1-3ee2f7e6ff9c" for number in range(300)]
    mapping = dict.fromkeys(groups[:150], "viewer") | {groups[299]: "admin"}
    row = make_saml(organization_a, there, role_claim="groups", role_mapping=mapping)
    there.attributes["groups"] = groups
    come_by_saml(client, row, there)
    assert len(client.cookies["sign_on_ticket"].value) < 3_000
    assert Membership.objects.get(user__email="new@alpha.example").role == "admin"
