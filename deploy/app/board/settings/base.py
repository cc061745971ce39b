"""What all environments have in common.

The whole of the database setup is the one `DATABASES` entry below: its HOST and PORT are pgweir's.
There is no router and no `using()` anywhere in this application.
"""

from pathlib import Path
from typing import Any

import django_stubs_ext

from . import env, s3

# Lets views, forms and admin classes name their model in brackets, as the type checker wants it.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent.parent
VAR_DIR = Path(env.text("BOARD_VAR", str(BASE_DIR / "var")))

DEBUG = False
ALLOWED_HOSTS: list[str] = env.words("BOARD_HOSTS")

INSTALLED_APPS = [
    # First, to hear of a connection before anybody asks it something.
    "board.weir",
    "django.contrib.admin",
    "django.forms",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "bootstrap",
    "board.core",
    "board.accounts",
    "board.posts",
    "board.insights",
    "board.learn",
    "board.compare",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "board.core.middleware.ContentSecurityPolicy",
    "board.core.middleware.HeadWithoutBody",
    "board.core.middleware.UploadLimit",
    "board.weir.middleware.TraceStatements",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "board.weir.middleware.ChosenConsistency",
    "board.core.middleware.ProperRefusals",
]

ROOT_URLCONF = "board.urls"
WSGI_APPLICATION = "board.wsgi.application"
ASGI_APPLICATION = "board.asgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "board" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "board.weir.template.weir",
            ],
        },
    }
]

# Lets forms find their template among ours.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

# The database: one entry, one host. pgweir decides what runs where.
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env.text("PGHOST", "127.0.0.1"),
        "PORT": env.text("PGPORT", "6432"),
        "NAME": env.text("PGDATABASE", "app"),
        "USER": env.text("PGUSER", "app"),
        "PASSWORD": env.text("PGPASSWORD", "app"),
        # 0 opens a connection per request (cheap behind a pool); more keeps it for so many seconds.
        "CONN_MAX_AGE": env.number("BOARD_CONN_MAX_AGE", 0),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"application_name": "board"},
    }
}
# psycopg's own pool inside each worker, as an option; Django then wants CONN_MAX_AGE to be 0.
if env.flag("BOARD_DB_POOL"):
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": env.number("BOARD_DB_POOL_MIN", 1),
        "max_size": env.number("BOARD_DB_POOL_MAX", 4),
        "timeout": 10,
    }
# Only the comparison in settings/router.py names replicas.
REPLICA_ALIASES: list[str] = []
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Sessions are rows in the database: any worker of any instance can serve any request.
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "board.core.views.csrf_failure"

LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "posts:list"
LOGOUT_REDIRECT_URL = "posts:list"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# Files: local disk by default, S3-compatible buckets with one setting (see s3.py).
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "board" / "static"]
MEDIA_URL = "/media/"
MEDIA_ROOT = VAR_DIR / "media"
BOARD_SERVE_MEDIA = False
BOARD_S3 = env.flag("BOARD_S3")
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
BOARD_MEDIA_ORIGINS: list[str] = []
BOARD_UPLOAD_ORIGINS: list[str] = []
if BOARD_S3:
    STORAGES = s3.storages()
    BOARD_MEDIA_ORIGINS = s3.read_origins()
    BOARD_UPLOAD_ORIGINS = s3.upload_origins()

# Uploads: bytes of one request, bytes of one photo.
BOARD_REQUEST_BYTES_MAX = 8 * 1024 * 1024
BOARD_PHOTO_BYTES_MAX = 5 * 1024 * 1024
BOARD_PHOTO_PIXELS_MAX = 40_000_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100

# The bar at the foot of each page: development and demo switch it on.
WEIR_BAR = False
# What to call the nodes, as "127.0.0.1:5433=replica-1,…"; an address speaks for itself otherwise.
WEIR_NODE_NAMES = dict(word.split("=", 1) for word in env.words("PGWEIR_NODE_NAMES") if "=" in word)
# pgweir's HTTP address (metrics), and its console as a libpq connection string.
WEIR_HTTP = env.text("PGWEIR_HTTP")
WEIR_CONSOLE = env.text("PGWEIR_CONSOLE")
# A JSON file that describes the demo's nodes (see demo/control.py); buttons appear with it.
WEIR_DEMO_NODES = env.text("PGWEIR_DEMO_NODES")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("BOARD_LOG_LEVEL", "INFO")},
}
