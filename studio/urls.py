"""All addresses, room by room."""

from allauth.account import views as allauth
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView

from accounts.http import public
from jobs import health

schema = public("the description of the API holds no data")(
    SpectacularJSONAPIView.as_view(authentication_classes=[], permission_classes=[])
)

handler404 = "studio.core.problems.not_found"
handler500 = "studio.core.problems.server_error"

urlpatterns = [
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    # Only these of allauth's views: its page of e-mail addresses would let people take any address.
    path("accounts/login/", allauth.login, name="account_login"),
    path("accounts/logout/", allauth.logout, name="account_logout"),
    path("accounts/signup/", allauth.signup, name="account_signup"),
    path("accounts/password/change/", allauth.password_change, name="account_change_password"),
    path("accounts/inactive/", allauth.account_inactive, name="account_inactive"),
    path("api/schema/", schema, name="api-schema"),
    path("api/v1/", include("jobs.api.urls")),
    path("api/v1/", include("workspaces.token_urls")),
    path("", include("accounts.urls")),
    path("", include("workspaces.urls")),
    path("", include("jobs.urls")),
]
