"""A small load, such as a peak brings: threads that read lists and sometimes write."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.contrib.auth.models import AnonymousUser
from django.db import Error, connection
from django.db.models import F

from board.posts.models import Post
from board.weir import metrics, trace
from board.weir.models import Mark

CLIENTS_MAX = 32
SECONDS_MAX = 60
TICK_SECONDS = 0.5
WRITE_SHARE = 0.05
LIST_POSTS = 12


@dataclass
class Tally:
    """What the threads did since the last tick."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    took_ms: list[float] = field(default_factory=list)
    nodes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def take(self) -> tuple[list[float], Counter[str], Counter[str]]:
        """The figures so far; counting starts anew."""
        with self.lock:
            taken = self.took_ms, self.nodes, self.errors
            self.took_ms, self.nodes, self.errors = [], Counter(), Counter()
        return taken


@dataclass(frozen=True)
class Tick:
    """Half a second of the load."""

    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    nodes: dict[str, int]
    errors: dict[str, int]
    status: dict[str, Any]


def run(clients: int, seconds: float) -> Iterator[Tick]:
    """Runs the load and yields a tick every half second; its end or a break stops the threads."""
    clients = max(1, min(clients, CLIENTS_MAX))
    seconds = max(1.0, min(seconds, SECONDS_MAX))
    tally, stop = Tally(), threading.Event()
    Mark.objects.get_or_create(name="peak")
    threads = [threading.Thread(target=client, args=(tally, stop, n)) for n in range(clients)]
    started = last = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        while time.monotonic() - started < seconds:
            time.sleep(TICK_SECONDS)
            now = time.monotonic()
            yield tick(tally, now - started, now - last)
            last = now
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def tick(tally: Tally, since_start: float, since_last: float) -> Tick:
    """The tally of the last half second, with pgweir's own figures beside it."""
    took_ms, nodes, errors = tally.take()
    took_ms.sort()
    return Tick(
        seconds=round(since_start, 1),
        per_second=round(len(took_ms) / since_last, 1),
        p50_ms=quantile(took_ms, 0.50),
        p99_ms=quantile(took_ms, 0.99),
        nodes=dict(nodes),
        errors=dict(errors),
        status=status(),
    )


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of an ordered list lies; 0 for an empty one."""
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1) if ordered else 0.0


def status() -> dict[str, Any]:
    """pgweir's picture of nodes and clients, empty without pgweir."""
    samples = metrics.fetch()
    if samples is None:
        return {"nodes": [], "clients": None}
    return {"nodes": list(metrics.nodes(samples).values()), "clients": metrics.clients(samples)}


def client(tally: Tally, stop: threading.Event, number: int) -> None:
    """One client: a page's reads over and over, now and then a write."""
    dice = random.Random(number)  # noqa: S311 - a load, not a secret
    try:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                with trace.tracing() as traced:
                    step(dice)
            except (Error, psycopg.Error) as error:
                with tally.lock:
                    tally.errors[type(error).__name__] += 1
                connection.close()
                stop.wait(0.1)
                continue
            took_ms = (time.perf_counter() - started) * 1000
            with tally.lock:
                tally.took_ms.append(took_ms)
                for statement in traced.statements:
                    tally.nodes[statement.route.node if statement.route else "direct"] += 1
    finally:
        connection.close()


def step(dice: random.Random) -> None:
    """What one click costs the database."""
    if dice.random() < WRITE_SHARE:
        Mark.objects.filter(name="peak").update(value=F("value") + 1)
    else:
        list(Post.objects.for_cards(AnonymousUser())[:LIST_POSTS])
