"""All addresses, room by room."""

from allauth.account import views as allauth
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.urls import include, path
from django.views.decorators.cache import never_cache
from drf_spectacular.views import SpectacularJSONAPIView

from accounts import security
from accounts.http import public
from jobs import health
from jobs.metrics import metrics

schema = public("the description of the API holds no data")(
    SpectacularJSONAPIView.as_view(authentication_classes=[], permission_classes=[])
)

handler404 = "studio.core.problems.not_found"
handler429 = "studio.core.problems.too_many"
handler500 = "studio.core.problems.server_error"

RESET = "accounts/password/reset/"
SECURITY = "settings/security"
FACTORS = "settings/security/factors/"
PASSKEY = FACTORS + "passkeys/<int:pk>/"

urlpatterns = [
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("metrics", metrics, name="metrics"),
    # Only these of allauth's views: its page of e-mail addresses would let people take any address.
    path("accounts/login/", allauth.login, name="account_login"),
    path("accounts/logout/", allauth.logout, name="account_logout"),
    path("accounts/signup/", allauth.signup, name="account_signup"),
    path("accounts/password/change/", allauth.password_change, name="account_change_password"),
    path("accounts/inactive/", allauth.account_inactive, name="account_inactive"),
    path(RESET, allauth.password_reset, name="account_reset_password"),
    path(RESET + "sent/", allauth.password_reset_done, name="account_reset_password_done"),
    path(
        RESET + "done/",
        allauth.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path(
        RESET + "<str:uidb36>/<str:key>/",
        allauth.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("accounts/confirm/", allauth.reauthenticate, name="account_reauthenticate"),
    path("accounts/confirm/code/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path(
        "accounts/confirm/passkey/",
        webauthn.reauthenticate_webauthn,
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/login/code/", mfa.authenticate, name="mfa_authenticate"),
    path("accounts/login/passkey/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path(SECURITY, security.security, name="security"),
    # allauth leads back to its lists under these names; the page shows all of them.
    path(SECURITY, security.security, name="mfa_index"),
    path(SECURITY, security.security, name="mfa_list_webauthn"),
    path(SECURITY + "/go-on", security.go_on, name="security-go-on"),
    path(FACTORS + "app/add/", never_cache(totp.activate_totp), name="mfa_activate_totp"),
    path(FACTORS + "app/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path(
        FACTORS + "codes/",
        never_cache(codes.view_recovery_codes),
        name="mfa_view_recovery_codes",
    ),
    path(
        FACTORS + "codes/new/",
        codes.generate_recovery_codes,
        name="mfa_generate_recovery_codes",
    ),
    path(
        FACTORS + "codes/download/",
        codes.download_recovery_codes,
        name="mfa_download_recovery_codes",
    ),
    path(FACTORS + "passkeys/add/", webauthn.add_webauthn, name="mfa_add_webauthn"),
    path(PASSKEY + "rename/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path(PASSKEY + "remove/", webauthn.remove_webauthn, name="mfa_remove_webauthn"),
    path("api/schema/", schema, name="api-schema"),
    path("api/v1/", include("jobs.api.urls")),
    path("api/v1/", include("workspaces.token_urls")),
    path("api/v1/", include("library.api_urls")),
    path("", include("accounts.sign_on.urls")),
    path("", include("accounts.urls")),
    path("", include("workspaces.urls")),
    path("", include("library.urls")),
    path("", include("jobs.urls")),
]
