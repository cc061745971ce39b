"""Where the statements of one request ran, gathered from pgweir's notices.

With `pgweir.trace = on` each statement brings a NOTICE like

    pgweir: node=127.0.0.1:5433 role=replica reason=read_only waited_ms=0.0 lag_ms=0.8

psycopg hands it to a notice handler while the statement runs, and Django's execute wrapper says
which statement that is. Without pgweir the setting is an ordinary placeholder and no notice comes.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import psycopg
from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from board.weir import demo

PREFIX = "pgweir: "
STATEMENTS_MAX = 500
SQL_CHARS_MAX = 2000

READS = {"SELECT", "VALUES", "TABLE", "WITH", "SHOW", "FETCH"}
WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY"}
LOCKING = re.compile(r"\bFOR (NO KEY )?UPDATE\b|\bFOR (KEY )?SHARE\b")
FIRST_WORD = re.compile(r"\s*\(*\s*([A-Za-z]+)")


@dataclass(frozen=True)
class Route:
    """Where pgweir ran a statement, and why."""

    node: str
    role: str
    reason: str
    waited_ms: float
    lag_ms: float

    @property
    def name(self) -> str:
        """The node as people call it."""
        known = settings.WEIR_NODE_NAMES.get(self.node) or demo.name_of(self.node)
        return str(known or f"{self.role} {self.node}")


@dataclass
class Statement:
    """One statement of the application; `route` is None on a direct connection."""

    sql: str
    took_ms: float = 0.0
    route: Route | None = None
    kind: str = ""

    def __post_init__(self) -> None:
        self.kind = self.kind or kind_of(self.sql)


def kind_of(sql: str) -> str:
    """read, write, lock, or control (transactions and settings)."""
    match = FIRST_WORD.match(sql)
    word = match.group(1).upper() if match else ""
    if word in WRITES:
        return "write"
    if word in READS:
        return "lock" if LOCKING.search(sql) else "read"
    return "control"


@dataclass
class Trace:
    """The statements of one request, in order."""

    statements: list[Statement] = field(default_factory=list)
    notices: list[Route] = field(default_factory=list)
    running: bool = False

    def on_notice(self, route: Route) -> None:
        """A notice inside a statement is that statement's; outside it is a COMMIT or ROLLBACK."""
        if self.running:
            self.notices.append(route)
        else:
            self.add(Statement("COMMIT or ROLLBACK", route=route))

    def on_statement(self, statement: Statement) -> None:
        """The statement is over: the last notice is its own, one before it is its BEGIN's."""
        if self.notices:
            statement.route = self.notices[-1]
        self.notices.clear()
        self.add(statement)

    def add(self, statement: Statement) -> None:
        if len(self.statements) < STATEMENTS_MAX:
            self.statements.append(statement)

    def wrapper(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """Django's execute wrapper: https://docs.djangoproject.com/en/5.2/topics/db/instrumentation/"""
        self.running = True
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self.running = False
            self.on_statement(Statement(str(sql)[:SQL_CHARS_MAX], took_ms))

    def summary(self) -> dict[str, Any]:
        """The bar's line, as a text and as figures."""
        return summarise(self.statements)


def summarise(statements: list[Statement]) -> dict[str, Any]:
    """Counts by node and kind, and the largest lag and wait; `direct` where nothing was traced."""
    routed = [(s, s.route) for s in statements if s.route]
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for statement, route in routed:
        counts[(route.role, route.node, route.name, statement.kind)] += 1
    nodes: dict[str, dict[str, Any]] = {}
    for (role, node, name, kind), number in sorted(counts.items()):
        entry = nodes.setdefault(node, {"node": node, "name": name, "role": role})
        entry[kind] = number
    for entry in nodes.values():
        entry["text"] = f"{spell(entry)} on {entry['name']}"
    # Single statements may lack a route (sent on no connection); a page without any is direct.
    direct = bool(statements) and not routed
    waited = max((route.waited_ms for _, route in routed), default=0.0)
    lag = max((route.lag_ms for _, route in routed if route.role == "replica"), default=0.0)
    if direct:
        text = f"direct connection: {count(len(statements), 'statement')}"
    elif routed:
        parts = [entry["text"] for entry in nodes.values()]
        text = " · ".join([*parts, f"lag {lag:.1f} ms", f"waited {waited:.1f} ms"])
    else:
        text = "no statement"
    return {
        "text": text,
        "nodes": list(nodes.values()),
        "direct": direct,
        "statements": len(statements),
        "lag_ms": lag,
        "waited_ms": waited,
    }


def spell(entry: dict[str, Any]) -> str:
    """`1 write, 5 reads`."""
    kinds = ("write", "lock", "read", "control")
    return ", ".join(count(entry[kind], kind) for kind in kinds if entry.get(kind))


def count(number: int, word: str) -> str:
    """`1 read`, `2 reads`."""
    return f"{number} {word}{'' if number == 1 or word == 'control' else 's'}"


def parse(text: str) -> Route | None:
    """The route that a notice tells, or None where the notice is not pgweir's."""
    if not text.startswith(PREFIX):
        return None
    words = dict(word.split("=", 1) for word in text[len(PREFIX) :].split() if "=" in word)
    if "node" not in words or "role" not in words:
        return None
    return Route(
        node=words["node"],
        role=words["role"],
        reason=words.get("reason", ""),
        waited_ms=number(words.get("waited_ms")),
        lag_ms=number(words.get("lag_ms")),
    )


def number(word: str | None) -> float:
    """The word as a number, 0 where it is none."""
    try:
        return float(word or 0)
    except ValueError:
        return 0.0


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
heard: WeakSet[psycopg.Connection[Any]] = WeakSet()


def on_notice(diagnostic: psycopg.errors.Diagnostic) -> None:
    """psycopg's notice handler: runs in the thread of the statement."""
    trace = current.get()
    route = parse(diagnostic.message_primary or "")
    if trace is not None and route is not None:
        trace.on_notice(route)


def on_connection(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """A new connection, or one out of psycopg's pool again: listen to it once."""
    raw = connection.connection
    if isinstance(raw, psycopg.Connection) and raw not in heard:
        raw.add_notice_handler(on_notice)
        heard.add(raw)


def listen() -> None:
    """Listens to every connection that is made from now on."""
    if settings.WEIR_BAR:
        connection_created.connect(on_connection, dispatch_uid="board.weir.trace")


@contextmanager
def tracing() -> Iterator[Trace]:
    """Gathers the statements of the block in this thread."""
    trace = Trace()
    token = current.set(trace)
    try:
        with connection.execute_wrapper(trace.wrapper):
            yield trace
    finally:
        current.reset(token)
