"""What every template knows about the bar."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from board.weir import consistency


def weir(request: HttpRequest) -> dict[str, Any]:
    """Whether there is a bar, and which level its reader has chosen."""
    if not settings.WEIR_BAR:
        return {"weir_bar": False}
    level = consistency.chosen(request) if hasattr(request, "session") else None
    levels = [("", "the configured default"), *consistency.LEVELS.items()]
    return {"weir_bar": True, "weir_levels": levels, "weir_level": level or ""}
