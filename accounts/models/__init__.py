"""Who: people, organizations and their teams, credentials, and the audit log."""

from accounts.models.audit import AuditEvent
from accounts.models.credentials import ApiToken, IdentityProvider, IdentityProviderKind, Invitation
from accounts.models.people import Membership, Organization, Team, TeamMember, User

__all__ = [
    "ApiToken",
    "AuditEvent",
    "IdentityProvider",
    "IdentityProviderKind",
    "Invitation",
    "Membership",
    "Organization",
    "Team",
    "TeamMember",
    "User",
]
