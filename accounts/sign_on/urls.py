"""Addresses of single sign-on."""

from django.urls import path

from accounts.sign_on import pages, views
from accounts.urls import ORGANIZATION

PROVIDER = "sso/<str:provider_id>/"

urlpatterns = [
    path(ORGANIZATION + "sign-on", pages.sign_on_page, name="sign-on"),
    path(ORGANIZATION + "sign-on/new", pages.sign_on_new, name="sign-on-new"),
    path(ORGANIZATION + "sign-on/<str:provider_id>", pages.sign_on_edit, name="sign-on-edit"),
    path("sso/", views.find, name="sign-on-find"),
    path("sso/connect", views.connect_account, name="sign-on-connect"),
    path(PROVIDER, views.start, name="sign-on-start"),
    path(PROVIDER + "callback", views.callback, name="sign-on-callback"),
    path(PROVIDER + "acs", views.acs, name="sign-on-acs"),
    path(PROVIDER + "finish", views.finish, name="sign-on-finish"),
    path(PROVIDER + "metadata", views.metadata, name="sign-on-metadata"),
]
