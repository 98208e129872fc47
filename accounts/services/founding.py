"""Founding an organization from outside, for whoever runs the installation."""

from __future__ import annotations

from django.db import transaction

from accounts.models import Invitation, Organization, User
from accounts.roles import Role
from accounts.services.audit import record_system
from accounts.services.emails import check_emails
from accounts.services.invitations import renew_link
from accounts.services.organizations import checked_name
from studio.core.scoping import organization_scope


@transaction.atomic
def found_organization(*, name: str, owner_email: str) -> tuple[Organization, str]:
    """A new organization, and the link at which its owner comes in.

    Who has no account gets one that is opened by the link alone: it has no password yet.

    Raises:
        InvalidInputError: the name or the address cannot be.
    """
    [address] = check_emails([owner_email])
    organization = Organization.objects.create(name=checked_name(name))
    owner = User.objects.filter(email=address).first() or User.objects.create_user(address)
    with organization_scope(organization.pk):
        invitation = Invitation(
            organization=organization,
            email=address,
            role=Role.OWNER.value,
            invited_by=owner,
        )
        link = renew_link(invitation)
        invitation.save(force_insert=True)
        record_system(organization.pk, "organization.created", organization.pk)
        record_system(organization.pk, "invitation.created", invitation.pk)
    return organization, link
