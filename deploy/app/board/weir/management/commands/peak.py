"""Runs a small load and prints what it does to connections and lag."""

import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from board.weir import console, demo, load


class Command(BaseCommand):
    help = "Runs a load; with --warm after pgweir's warm-up, with --add-replica during a reload."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--clients", type=int, default=8)
        parser.add_argument("--seconds", type=int, default=10)
        parser.add_argument("--warm", action="store_true", help="warm pgweir's pools up first")
        parser.add_argument(
            "--add-replica", action="store_true", help="add a replica after a third of the time"
        )

    def handle(
        self,
        *args: Any,
        clients: int,
        seconds: int,
        warm: bool,
        add_replica: bool,
        **options: Any,
    ) -> None:
        if warm:
            self.stdout.write(console.warm())
        timer = threading.Timer(seconds / 3, self.add) if add_replica else None
        if timer:
            timer.start()
        failed = 0
        for tick in load.run(clients, seconds):
            failed += sum(tick.errors.values())
            self.stdout.write(line(tick))
        if timer:
            timer.join()
        if failed:
            raise CommandError(f"{failed} clicks failed")

    def add(self) -> None:
        """Adds a replica, in a thread beside the load."""
        try:
            self.stdout.write(f"  {demo.act('add', '')}")
        except demo.Refused as refused:
            self.stdout.write(f"  no replica added: {refused}")


def line(tick: load.Tick) -> str:
    """A tick as a line of text."""
    names = settings.WEIR_NODE_NAMES
    nodes = "  ".join(f"{names.get(node, node)} {n}" for node, n in sorted(tick.nodes.items()))
    lags = "  ".join(
        f"{names.get(n['node'], n['node'])} {n.get('connections', 0)} conns"
        + (f" {n['lag_ms']} ms lag" if "lag_ms" in n else "")
        for n in tick.status["nodes"]
    )
    errors = f"  errors {tick.errors}" if tick.errors else ""
    return (
        f"{tick.seconds:5.1f} s  {tick.per_second:7.1f} clicks/s  p50 {tick.p50_ms:6.1f} ms  "
        f"p99 {tick.p99_ms:6.1f} ms  {nodes}  {lags}{errors}"
    )
