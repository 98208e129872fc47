"""What lets somebody in: tokens, invitations, other people's sign-on."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models.people import Organization, Team, User
from accounts.roles import Role
from studio.core.ids import IdField
from studio.core.scoping import ScopedManager

ROLES = [(role.value, role.value) for role in Role]


class ApiToken(models.Model):
    """A program's credential: acts as its user in one organization. Only its hash is stored.

    It is read before any scope exists, so its manager is plain. `scopes` names the permissions it
    is limited to (None: all that its user has); no `workspace_ids` means all workspaces. A token
    with a `successor` is in its last hours: the successor took its place.
    """

    id = IdField(prefix="tok")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16)
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=64), null=True)
    workspace_ids = ArrayField(models.CharField(max_length=30), default=list)
    requests_per_minute = models.PositiveIntegerField(null=True)
    successor = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="predecessors"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class Invitation(models.Model):
    """A letter to somebody who is not a member yet. Its link holds once, until `expires_at`.

    Sending it again makes a new link, and the one before holds no more. `mail_id` is the last
    letter's, empty for a link that was passed on by hand.
    """

    id = IdField(prefix="inv")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=ROLES)
    team = models.ForeignKey(Team, null=True, on_delete=models.SET_NULL, related_name="+")
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    mail_id = models.CharField(max_length=30, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects: ClassVar[ScopedManager[Self]] = ScopedManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "email"],
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_one_open",
            )
        ]


class IdentityProviderKind(StrEnum):
    """The protocol of single sign-on."""

    OIDC = "oidc"
    SAML = "saml"


class IdentityProvider(models.Model):
    """Where an organization's members sign in instead of here.

    `sealed_config` (addresses, client id, secret, certificate) lies under the organization's key.
    `role_mapping` turns values of the claim `role_claim` into roles; without a match it is
    `default_role`, and nobody gets in if that is empty. Who comes by one that
    `covers_second_factor` is asked for no more.
    """

    id = IdField(prefix="idp")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(
        max_length=8, choices=[(k.value, k.value) for k in IdentityProviderKind]
    )
    name = models.CharField(max_length=80)
    sealed_config = models.BinaryField()
    role_claim = models.CharField(max_length=200, blank=True)
    role_mapping = models.JSONField(default=dict)
    default_role = models.CharField(max_length=16, choices=ROLES, blank=True)
    is_active = models.BooleanField(default=True)
    covers_second_factor = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    under_organization_key: ClassVar[tuple[str, ...]] = ("sealed_config",)
    objects: ClassVar[ScopedManager[Self]] = ScopedManager()
