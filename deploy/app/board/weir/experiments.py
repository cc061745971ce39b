"""Two experiments of the control room: write and read back, and many reads."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from board.weir import trace
from board.weir.consistency import LEVELS
from board.weir.models import Mark

ROUNDS_MAX = 100
READS_MAX = 500
DIRECT = "direct connection"
WRITE = "UPDATE weir_mark SET value = value + 1 WHERE id = %s RETURNING value"
READ = "SELECT value FROM weir_mark WHERE id = %s"


@dataclass(frozen=True)
class Outcome:
    """What the reads saw."""

    level: str
    rounds: int
    stale: int
    nodes: dict[str, int]
    slowest_ms: float
    took_ms: float


@contextmanager
def another_connection(level: str) -> Iterator[BaseDatabaseWrapper]:
    """A connection of its own, as another worker has, at this level."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            if level in LEVELS:
                cursor.execute(f"SET pgweir.consistency = '{level}'")
        yield other
    finally:
        other.close()


def write_and_read_back(level: str, rounds: int) -> Outcome:
    """Writes a number on one connection and reads it on another at once; counts what is stale."""
    rounds = max(1, min(rounds, ROUNDS_MAX))
    mark, _ = Mark.objects.get_or_create(name="freshness")
    stale, slowest, nodes = 0, 0.0, Counter[str]()
    started = time.perf_counter()
    with another_connection("") as writer, another_connection(level) as reader:
        for _ in range(rounds):
            written, _ = run(writer, WRITE, mark.pk)
            began = time.perf_counter()
            seen, route = run(reader, READ, mark.pk)
            slowest = max(slowest, (time.perf_counter() - began) * 1000)
            nodes[route] += 1
            stale += seen < written
    took_ms = (time.perf_counter() - started) * 1000
    return Outcome(
        level or "default", rounds, stale, dict(nodes), round(slowest, 1), round(took_ms)
    )


def many_reads(reads: int) -> dict[str, int]:
    """Which nodes answered so many reads, each outside a transaction."""
    reads = max(1, min(reads, READS_MAX))
    mark, _ = Mark.objects.get_or_create(name="freshness")
    nodes = Counter[str]()
    with another_connection("") as reader:
        for _ in range(reads):
            nodes[run(reader, READ, mark.pk)[1]] += 1
    return dict(nodes)


def run(other: BaseDatabaseWrapper, sql: str, pk: int) -> tuple[int, str]:
    """The value that the statement gave, and the node; less than any value if there was no row."""
    page, traced = trace.current.get(), trace.Trace()
    token = trace.current.set(traced)
    try:
        with other.execute_wrapper(traced.wrapper), other.cursor() as cursor:
            cursor.execute(sql, [pk])
            row = cursor.fetchone()
    finally:
        trace.current.reset(token)
    statement = traced.statements[-1]
    if page is not None:
        page.add(statement)
    return int(row[0]) if row else -1, statement.route.name if statement.route else DIRECT
