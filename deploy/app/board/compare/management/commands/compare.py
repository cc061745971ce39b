"""Runs a few lines of ordinary Django code and reports, as JSON, what came out.

With `--settings=board.settings.router` the lines run over Django's router, with any other settings
over the one database host. The code is the same: no `using()` anywhere.
"""

import json
from collections.abc import Callable
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error
from django.db.models import Func, IntegerField, Value

from board.weir.models import Mark


class Command(BaseCommand):
    help = "Writes and reads as any Django code does, and reports what went wrong, as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rounds", type=int, default=20)

    def handle(self, *args: Any, rounds: int, **options: Any) -> None:
        report: dict[str, Any] = {"rounds": rounds, **stale_reads(rounds)}
        for name, step in (("raw_write", raw_write), ("sequence", sequence)):
            report[name] = outcome(step)
        self.stdout.write(json.dumps(report))


def stale_reads(rounds: int) -> dict[str, int]:
    """Saves and reads back; makes and fetches: how often is the old state seen?"""
    stale = missing = 0
    Mark.objects.filter(name__startswith="compare").delete()
    mark = Mark.objects.create(name="compare")
    for number in range(1, rounds + 1):
        Mark.objects.filter(pk=mark.pk).update(value=number)
        seen = Mark.objects.filter(pk=mark.pk).values_list("value", flat=True).first()
        stale += seen != number
        made = Mark.objects.create(name=f"compare-{number}")
        missing += not Mark.objects.filter(pk=made.pk).exists()
    Mark.objects.filter(name__startswith="compare").delete()
    return {"stale": stale, "missing": missing}


def raw_write() -> object:
    """`raw()` counts as a read for a router, whatever its SQL does."""
    mark, _ = Mark.objects.get_or_create(name="raw")
    sql = "UPDATE weir_mark SET value = value + 1 WHERE id = %s RETURNING id, name, value"
    return [row.value for row in Mark.objects.raw(sql, [mark.pk])]


def sequence() -> object:
    """A queryset that draws from a sequence is a SELECT, and a write."""
    drawn = Func(Value("weir_mark_id_seq"), function="nextval", output_field=IntegerField())
    return ContentType.objects.annotate(drawn=drawn).order_by("id").first()


def outcome(step: Callable[[], object]) -> str:
    """`ok`, or the database's own words."""
    try:
        step()
    except Error as error:
        return str(error).strip().splitlines()[0]
    return "ok"
