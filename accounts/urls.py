"""Addresses of organizations."""

from django.urls import path

from accounts import views

ORGANIZATION = "o/<str:organization_id>/"

urlpatterns = [
    path("organizations/new", views.organization_new, name="organization-new"),
    path(ORGANIZATION + "settings", views.organization_settings, name="organization-settings"),
]
