"""Django's test runner: `manage.py test --settings=board.settings.test`, through pgweir as well.

The runner's own CREATE DATABASE, the migrations and the tests all go through the one entry.
"""

import atexit
import shutil
import tempfile
from pathlib import Path

from .base import *

SECRET_KEY = "only-for-tests"  # noqa: S105
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
MEDIA_ROOT = Path(tempfile.mkdtemp(prefix="board-test-media-"))
atexit.register(shutil.rmtree, MEDIA_ROOT, ignore_errors=True)
BOARD_SERVE_MEDIA = True
# Whatever demo runs beside the tests is none of their business.
WEIR_HTTP = WEIR_CONSOLE = WEIR_DEMO_NODES = ""
WEIR_NODE_NAMES = {}
WEIR_BAR = True
DATABASES["default"]["OPTIONS"]["options"] = "-c pgweir.trace=on"
# The tests provoke what is logged here.
LOGGING["loggers"] = {"django": {"level": "CRITICAL", "propagate": False}}

# Nothing is collected here, but WhiteNoise looks for the directory.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
