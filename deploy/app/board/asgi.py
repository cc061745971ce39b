"""The ASGI door: `uvicorn board.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings.production")
application = get_asgi_application()
