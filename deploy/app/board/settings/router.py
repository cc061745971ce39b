"""To compare: Django's own router over an explicit primary and replicas, past pgweir.

BOARD_PRIMARY and BOARD_REPLICAS (separated by commas) are `host:port`. See `board/compare`.
"""

from typing import Any

from . import env
from .development import *


def at(address: str) -> dict[str, Any]:
    """The one database entry, at another address."""
    host, _, port = address.rpartition(":")
    return {**DATABASES["default"], "HOST": host, "PORT": port}


_replicas = env.words("BOARD_REPLICAS", "127.0.0.1:5433,127.0.0.1:5434")
REPLICA_ALIASES = [f"replica_{number}" for number in range(1, len(_replicas) + 1)]
DATABASES = {
    "default": at(env.text("BOARD_PRIMARY", "127.0.0.1:5432")),
    **{alias: at(address) for alias, address in zip(REPLICA_ALIASES, _replicas, strict=True)},
}
DATABASE_ROUTERS = ["board.compare.router.PrimaryReplicaRouter"]
WEIR_BAR = False
