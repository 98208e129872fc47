"""Addresses of organizations."""

from django.urls import path

from accounts import member_views, team_views, views

ORGANIZATION = "o/<str:organization_id>/"
MEMBER = ORGANIZATION + "members/<str:user_id>"
INVITATION = ORGANIZATION + "invitations/<str:invitation_id>/"
TEAM = ORGANIZATION + "teams/<str:team_id>"

urlpatterns = [
    path("organizations/new", views.organization_new, name="organization-new"),
    path(ORGANIZATION + "members", member_views.members, name="members"),
    path(ORGANIZATION + "members/invite", member_views.member_invite, name="member-invite"),
    path(MEMBER + "/role", member_views.member_role, name="member-role"),
    path(INVITATION + "resend", member_views.invitation_resend, name="invitation-resend"),
    path(INVITATION + "link", member_views.invitation_link, name="invitation-link"),
    path(INVITATION + "revoke", member_views.invitation_revoke, name="invitation-revoke"),
    path(ORGANIZATION + "teams", team_views.teams, name="teams"),
    path(ORGANIZATION + "teams/new", team_views.team_new, name="team-new"),
    path(TEAM, team_views.team, name="team"),
    path(TEAM + "/delete", team_views.team_delete, name="team-delete"),
    path(ORGANIZATION + "service-accounts", team_views.service_accounts, name="service-accounts"),
    path(
        ORGANIZATION + "service-accounts/<str:service_id>/deactivate",
        team_views.service_account_deactivate,
        name="service-account-deactivate",
    ),
    path(ORGANIZATION + "settings", views.organization_settings, name="organization-settings"),
]
