"""All addresses, room by room."""

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
    path("accounts/", include("allauth.account.urls")),
    path("api/schema/", schema, name="api-schema"),
    path("api/v1/", include("jobs.api.urls")),
    path("", include("workspaces.urls")),
    path("", include("jobs.urls")),
]
