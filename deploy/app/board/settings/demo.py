"""The demo on one machine: gunicorn over plain HTTP, production's error pages, the bar."""

from . import env
from .base import *

SECRET_KEY = env.text("BOARD_SECRET_KEY") or env.throw_away_secret(VAR_DIR)
ALLOWED_HOSTS = env.words("BOARD_HOSTS", "localhost,127.0.0.1,[::1]")

# No collectstatic step: WhiteNoise finds the files where the packages keep them.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
if not BOARD_S3:
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
BOARD_SERVE_MEDIA = True

WEIR_BAR = True
DATABASES["default"]["OPTIONS"]["options"] = "-c pgweir.trace=on"

# Nothing is collected here, but WhiteNoise looks for the directory.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
