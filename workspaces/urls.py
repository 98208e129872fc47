"""Addresses of stored bytes and of API tokens."""

from django.urls import path

from workspaces import token_views, views

urlpatterns = [
    path("media/<str:organization_id>/<str:artifact_id>", views.media, name="media"),
    path("settings/tokens", token_views.tokens, name="tokens"),
]
