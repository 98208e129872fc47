"""Addresses of stored bytes, of API tokens, of joining and of a member's access."""

from django.urls import path

from accounts.urls import MEMBER
from workspaces import join_views, member_views, token_views, views

urlpatterns = [
    path("media/<str:organization_id>/<str:artifact_id>", views.media, name="media"),
    path("join", join_views.join, name="join"),
    path(MEMBER, member_views.member, name="member"),
    path("settings/tokens", token_views.tokens, name="tokens"),
]
