"""Production: behind a TLS-terminating proxy, secrets from the environment.

`manage.py check --deploy` is clean with these settings.
"""

import os

from . import env
from .base import *

try:
    SECRET_KEY = os.environ["BOARD_SECRET_KEY"]
    DATABASES["default"]["PASSWORD"] = os.environ["PGPASSWORD"]
except KeyError as missing:
    raise RuntimeError(f"production needs {missing.args[0]} in the environment") from None

CSRF_TRUSTED_ORIGINS = env.words("BOARD_ORIGINS")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
X_FRAME_OPTIONS = "DENY"
