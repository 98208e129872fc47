"""Addresses of the API for tokens and the audit log."""

from django.urls import path

from workspaces import audit_api, token_api

urlpatterns = [
    path("me", token_api.MeView.as_view(), name="api-me"),
    path("tokens", token_api.TokensView.as_view(), name="api-tokens"),
    path("tokens/<str:token_id>", token_api.TokenView.as_view(), name="api-token"),
    path(
        "tokens/<str:token_id>/rotate",
        token_api.TokenRotateView.as_view(),
        name="api-token-rotate",
    ),
    path("audit-events", audit_api.AuditEventsView.as_view(), name="api-audit-events"),
]
