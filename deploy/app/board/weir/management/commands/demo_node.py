"""Pauses, slows, stops, starts or adds a node of the demo, from the command line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from board.weir import demo


class Command(BaseCommand):
    help = "Does something to a node of the demo: `demo_node delay replica-1 --ms 200`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["pause", "resume", "delay", "stop", "start", "add"])
        parser.add_argument("name", nargs="?", default="")
        parser.add_argument("--ms", type=int, default=0, help="for `delay`: milliseconds")

    def handle(self, *args: Any, action: str, name: str, ms: int, **options: Any) -> None:
        try:
            self.stdout.write(demo.act(action, name, ms))
        except demo.Refused as refused:
            raise CommandError(str(refused)) from None
