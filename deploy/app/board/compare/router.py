"""The database router of Django's documentation: reads to a random replica, writes to the primary.

https://docs.djangoproject.com/en/5.2/topics/db/multi-db/#an-example
"""

import random
from typing import Any

from django.conf import settings
from django.db.models import Model


class PrimaryReplicaRouter:
    """Knows which method of the ORM was called; not what the SQL does, nor how far a replica is."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        aliases: list[str] = settings.REPLICA_ALIASES
        return random.choice(aliases)  # noqa: S311 - no secret hangs on it

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return "default"

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default"
