"""Settings of the web side. Everything that differs between places comes from the environment."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from redis.backoff import NoBackoff
from redis.retry import Retry

from studio import env

BASE_DIR = Path(__file__).resolve().parent.parent

IS_TEST = env.boolean("STUDIO_TEST", default=False)
DEBUG = env.boolean("STUDIO_DEBUG", default=False)
SECRET_KEY = env.secret("STUDIO_SECRET_KEY")
STUDIO_MASTER_KEY = env.secret("STUDIO_MASTER_KEY")
STUDIO_URL = env.text("STUDIO_URL", "http://127.0.0.1:8000")
STORAGE_URL = env.text("STORAGE_URL")
REDIS_URL = env.text("REDIS_URL")
AGENT_REDIS_URL = env.text("STUDIO_AGENT_REDIS_URL", "")  # where agents find it, if elsewhere

_origin = urlsplit(STUDIO_URL)
IS_HTTPS = _origin.scheme == "https"
TRUSTED_PROXIES = env.networks("STUDIO_TRUSTED_PROXIES")  # `studio/serve.py` tells uvicorn
LOOPBACK = ("localhost", "127.0.0.1")
ALLOWED_HOSTS = [_origin.hostname or "127.0.0.1", "localhost", "127.0.0.1"]
if IS_TEST:
    ALLOWED_HOSTS.append("testserver")
CSRF_TRUSTED_ORIGINS = [STUDIO_URL]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "studio.core",
    "accounts",
    "workspaces",
    "library",
    "jobs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "studio.core.caching.no_store_unless_said",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.activity.ActivityMiddleware",
    "accounts.sign_on.guard.SignOnMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "studio.core.problems.ProblemMiddleware",
]

ROOT_URLCONF = "studio.urls"
ASGI_APPLICATION = "studio.asgi.application"
WSGI_APPLICATION = "studio.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "workspaces.switcher.switcher",
            ]
        },
    }
]

DATABASES = {"default": env.database("DATABASE_URL")}

# Counts of tries and requests, the same for all processes. JSON, never pickle: a pickle that
# somebody put there would run here.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": [REDIS_URL],
        "KEY_PREFIX": "studio:cache",
        "OPTIONS": {
            "serializer": "studio.core.cache.JsonSerializer",
            "socket_connect_timeout": 1,
            "socket_timeout": 1,
            "retry": Retry(NoBackoff(), 1),  # once, for a connection that a restart has cut
        },
    }
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "studio"},
    }
}

# ------------------------------------------------------------------ who is there
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
ACCOUNT_ADAPTER = "accounts.adapter.ClosedSignupAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = True
ALLAUTH_TRUSTED_PROXY_COUNT = 0  # the server has put the caller's address where it belongs
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "10/m/ip,5/5m/key"}
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
ACCOUNT_EMAIL_NOTIFICATIONS = True  # changes of what guards an account are told to its owner
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
PASSWORD_RESET_TIMEOUT = 3 * 60 * 60
# allauth's own makes a row for known addresses, and so takes longer than for unknown ones.
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105  # a class
# Single sign-on keeps who came from where in allauth's table, and uses its client; see
# `accounts/sign_on`. Its own pages have no address, and nothing else of it is stored.
SOCIALACCOUNT_ADAPTER = "accounts.sign_on.outgoing.SignOnAdapter"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
# Identity providers within our own network, which may be asked though they are not public.
SSO_HOSTS = env.hosts("STUDIO_SSO_HOSTS")
MFA_ADAPTER = "accounts.second_factor.SecondFactorAdapter"
MFA_FORMS = {
    "activate_totp": "accounts.factor_forms.SealedActivateTOTPForm",
    "add_webauthn": "accounts.factor_forms.AddPasskeyForm",
    "edit_webauthn": "accounts.factor_forms.RenamePasskeyForm",
    "authenticate_webauthn": "accounts.factor_forms.AuthenticatePasskeyForm",
    "login_webauthn": "accounts.factor_forms.LoginPasskeyForm",
    "reauthenticate_webauthn": "accounts.factor_forms.ConfirmPasskeyForm",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_ALLOW_UNVERIFIED_EMAIL = True  # people are invited: nobody can claim another's address
MFA_TOTP_ISSUER = "Studio"
MFA_TOTP_TOLERANCE = 1  # clocks of phones: one code earlier or later is taken as well
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RATE_LIMITS = {"webauthn_login": "30/m/ip"}  # as with passwords; each takes two requests
# allauth then skips the check of the origin: for a browser on this machine alone.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_HTTPS and _origin.hostname in LOOPBACK

# ------------------------------------------------------------------ mail
MAIL_FOLDER = Path(env.text("STUDIO_STATE", str(BASE_DIR / ".state"))) / "mail"
globals().update(env.mail("EMAIL_URL"))  # EMAIL_BACKEND, EMAIL_HOST, …
EMAIL_TIMEOUT = 15
DEFAULT_FROM_EMAIL = env.text(
    "STUDIO_MAIL_FROM",
    f"Studio <studio@{'localhost' if _origin.hostname in LOOPBACK else _origin.hostname}>",
)

# ------------------------------------------------------------------ cookies and headers
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_SECURE = IS_HTTPS
SECURE_SSL_REDIRECT = IS_HTTPS and env.boolean("STUDIO_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^(readyz|healthz)$"]  # asked on loopback, without TLS
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS
SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "studio.core.problems.csrf_failure"

_socket_origin = STUDIO_URL.replace("http", "ws", 1)
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF, _socket_origin],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# ------------------------------------------------------------------ API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.DeclaredPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["studio.core.parsing.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "studio.core.problems.api_exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["accounts.throttling.RequestThrottle"],
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # `?format=` is an unknown parameter like any other
}
API_RATE = env.rate("STUDIO_API_RATE", default="600/min")  # of a token without one of its own
API_RATE_ANONYMOUS = (60, 60)  # of an address: calls that are refused, and the API's description
SPECTACULAR_SETTINGS = {
    "TITLE": "Studio API",
    "VERSION": "1",
    "DESCRIPTION": "Make pictures from programs. Errors are RFC 9457 problem details.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": [],
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "studio.core.openapi.describe_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "AssetKindEnum": "library.api.ASSET_KINDS",
        "ColorEnum": "workspaces.palette.COLORS",
        "ControlKindEnum": "jobs.api.requests.CONTROL_KINDS",
        "MapKindEnum": "jobs.api.controls.MAP_KINDS",
        "NetworkMapKindEnum": "jobs.api.requests.NETWORK_MAP_KINDS",
        "ReferenceKindEnum": "jobs.api.requests.REFERENCE_KINDS",
        "RoleEnum": "jobs.api.people_shapes.ROLE_VALUES",
        "ServiceRoleEnum": "jobs.api.people_shapes.SERVICE_ROLE_VALUES",
        "WorkspaceRoleEnum": "jobs.api.workspace_shapes.WORKSPACE_ROLE_VALUES",
    },
}

# ------------------------------------------------------------------ metrics
METRICS_TOKEN = env.text("STUDIO_METRICS_TOKEN", "").strip()
DISPATCHER_METRICS = env.listening("STUDIO_DISPATCHER_METRICS")
WORKER_METRICS = env.listening("STUDIO_WORKER_METRICS")

# ------------------------------------------------------------------ language, files, uploads
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
FRONTEND_MANIFEST = BASE_DIR / "static" / "build" / "manifest.json"
UPLOAD_MAX_BYTES = 32 * 1024 * 1024
UPLOAD_MAX_PIXELS = 64_000_000
# Ports of web addresses from which starting pictures may be fetched; none: nothing is fetched.
FETCH_PORTS = env.integers("STUDIO_FETCH_PORTS", default=(80, 443))
UNUSED_INPUT_DAYS = env.integer("STUDIO_UNUSED_INPUT_DAYS", default=30)
# Files that are added to the library: each, and all that an organization may have of them.
MODEL_MAX_BYTES = env.integer("STUDIO_MODEL_MAX_GIB", default=32) * 1024**3
MODEL_QUOTA_BYTES = env.integer("STUDIO_MODEL_QUOTA_GIB", default=500) * 1024**3
# Where they are put together and taken apart: room for three of the largest.
WORK_FOLDER = env.text("STUDIO_WORK_FOLDER", str(MAIL_FOLDER.parent / "work"))
# What a request may hold (`studio/limits.py`): everywhere, and with a picture and its form.
BODY_MAX_BYTES = 1024 * 1024
UPLOAD_BODY_MAX_BYTES = UPLOAD_MAX_BYTES + BODY_MAX_BYTES
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_MAX_BYTES
# No part of a body touches the disk: there is no handler that could write a file.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = UPLOAD_BODY_MAX_BYTES

# ------------------------------------------------------------------ our own times, in seconds
LEASE_SECONDS = env.integer("STUDIO_LEASE_SECONDS", default=15)
UNCLAIMED_RESEND_SECONDS = 3
UNPLACEABLE_GRACE_SECONDS = 60  # a larger agent may be on its way
MEDIA_URL_SECONDS = 900
TRASH_DAYS = 30
AGENT_SLOTS = 2

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "studio.core.logs.LineFormatter",
            "fmt": "{levelname:<7} {name} {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "uvicorn": {"level": "ERROR"},  # strangers' malformed requests are no news
        "django.request": {"level": "ERROR"},
        "fido2": {"level": "WARNING"},  # names each passkey that is used
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},  # its traces hold the addresses that people typed
    },
}

if IS_TEST:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
