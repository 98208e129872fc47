"""Addresses of stored bytes, API tokens, joining, members' access and the audit log."""

from django.urls import path

from accounts.urls import MEMBER, ORGANIZATION
from workspaces import audit_views, join_views, member_views, token_views, views

urlpatterns = [
    path("media/<str:organization_id>/<str:artifact_id>", views.media, name="media"),
    path("join", join_views.join, name="join"),
    path(MEMBER, member_views.member, name="member"),
    path("settings/tokens", token_views.tokens, name="tokens"),
    path(
        ORGANIZATION + "service-accounts/<str:service_id>/tokens",
        token_views.service_account_tokens,
        name="service-account-tokens",
    ),
    path(ORGANIZATION + "audit", audit_views.audit_log, name="audit-log"),
    path(ORGANIZATION + "audit/export", audit_views.audit_export, name="audit-export"),
]
