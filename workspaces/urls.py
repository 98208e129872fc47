"""Addresses of stored bytes."""

from django.urls import path

from workspaces import views

urlpatterns = [
    path("media/<str:organization_id>/<str:artifact_id>", views.media, name="media"),
]
