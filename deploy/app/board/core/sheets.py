"""CSV that a spreadsheet may open."""

from typing import Any


def harmless(cell: Any) -> Any:
    """Keeps a spreadsheet from taking a title for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" else cell
