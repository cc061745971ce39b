"""Two editors count one number up at once: four ways, of which one loses edits.

Each editor is a thread with a connection of its own, as two instances of the application have.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F

from board.learn.models import Counter

EDITORS = 2
EDITS_EACH = 10
THINKING_SECONDS = 0.002
TRIES_MAX = 200


@dataclass(frozen=True)
class Outcome:
    """What became of the edits."""

    way: str
    title: str
    expected: int
    value: int
    retries: int
    took_ms: float

    @property
    def lost(self) -> int:
        """Edits that nobody will ever see."""
        return self.expected - self.value


def naive(name: str) -> int:
    """Read, think, write: the second writer overwrites the first."""
    counter = Counter.objects.get(name=name)
    time.sleep(THINKING_SECONDS)
    Counter.objects.filter(pk=counter.pk).update(value=counter.value + 1)
    return 0


def expression(name: str) -> int:
    """`F("value") + 1`: the database adds, under its own row lock."""
    time.sleep(THINKING_SECONDS)
    Counter.objects.filter(name=name).update(value=F("value") + 1)
    return 0


def locked(name: str) -> int:
    """`select_for_update`: the second reader waits until the first has written."""
    with transaction.atomic():
        counter = Counter.objects.select_for_update().get(name=name)
        time.sleep(THINKING_SECONDS)
        counter.value += 1
        counter.save(update_fields=["value"])
    return 0


def versioned(name: str) -> int:
    """Optimistic: write only if the version is still the one that was read, else read again."""
    for tries in range(TRIES_MAX):
        counter = Counter.objects.get(name=name)
        time.sleep(THINKING_SECONDS)
        written = Counter.objects.filter(pk=counter.pk, version=counter.version).update(
            value=counter.value + 1, version=F("version") + 1
        )
        if written:
            return tries
    raise RuntimeError("the counter never stood still")


WAYS: dict[str, tuple[str, Callable[[str], int]]] = {
    "naive": ("Read, add one, write", naive),
    "expression": ("F expression", expression),
    "locked": ("select_for_update", locked),
    "versioned": ("Optimistic version", versioned),
}


def run(way: str, editors: int = EDITORS, edits_each: int = EDITS_EACH) -> Outcome:
    """Lets the editors race one way, on a counter that starts at 0."""
    title, edit = WAYS[way]
    name = uuid.uuid4().hex
    Counter.objects.create(name=name)
    retries: list[int] = []
    failures: list[BaseException] = []
    start = threading.Barrier(editors)

    def editor() -> None:
        try:
            connection.ensure_connection()
            start.wait(timeout=10)
            for _ in range(edits_each):
                retries.append(edit(name))
        except BaseException as failure:
            failures.append(failure)
            start.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=editor) for _ in range(editors)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_ms = (time.perf_counter() - started) * 1000
    value = Counter.objects.get(name=name).value
    Counter.objects.filter(name=name).delete()
    if failures:
        raise failures[0]
    return Outcome(way, title, editors * edits_each, value, sum(retries), took_ms)
