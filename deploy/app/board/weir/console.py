"""A word with pgweir's console, which speaks the Postgres protocol."""

from typing import Any

import psycopg
from django.conf import settings
from psycopg.rows import dict_row

TIMEOUT_SECONDS = 3


def ask(command: str) -> list[dict[str, Any]] | None:
    """The rows that the console answers; None where no console is set. Errors are psycopg's."""
    if not settings.WEIR_CONSOLE:
        return None
    with (
        psycopg.connect(
            settings.WEIR_CONSOLE,
            autocommit=True,
            connect_timeout=TIMEOUT_SECONDS,
            cursor_factory=psycopg.ClientCursor,
        ) as console,
        console.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute(command.encode())
        return cursor.fetchall() if cursor.description else []


def warm() -> str:
    """Opens the servers that a peak will need, ahead of it; says what happened."""
    try:
        answer = ask("WARM")
    except psycopg.Error as error:
        return f"warm-up refused: {str(error).strip().splitlines()[0]}"
    if answer is None:
        return "No console is set: started cold."
    return "Warmed up: pgweir has opened the server connections that the peak will need."
