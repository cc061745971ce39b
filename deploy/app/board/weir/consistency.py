"""The consistency level that a person has chosen for their own session."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.http import HttpRequest

SESSION_KEY = "weir_level"
LEVELS = {
    "eventual": "eventual: a recent state will do",
    "session": "session: at least my own writes",
    "proxy": "proxy: every write through this pgweir",
    "global": "global: every write on the primary",
}


def chosen(request: HttpRequest) -> str | None:
    """The level kept in the session, or None for the configured default."""
    level = request.session.get(SESSION_KEY)
    return level if level in LEVELS else None


@contextmanager
def at(level: str | None) -> Iterator[None]:
    """Runs the block at this level on the default connection, and sets it back afterwards.

    An ordinary SET: with a connection kept for the next request, or taken from psycopg's pool,
    the level must not outlive the block.
    """
    if level not in LEVELS:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SET pgweir.consistency = '{level}'")
    raw = connection.connection
    try:
        yield
    finally:
        if connection.connection is raw and raw is not None and not raw.closed:
            if connection.in_atomic_block and connection.needs_rollback:
                connection.close()
            else:
                with connection.cursor() as cursor:
                    cursor.execute("RESET pgweir.consistency")
