"""Django's own database router beside pgweir: the same lines, the same nodes, 200 ms of delay."""

import json
import os
import unittest
from typing import Any

from . import support

DELAY_MS = 200
ROUNDS = 10


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        for name in ("BOARD_PRIMARY", "BOARD_REPLICAS"):
            if not os.environ.get(name):
                raise support.missing(name)
        support.each_replica("delay", "--ms", str(DELAY_MS))
        cls.addClassCleanup(support.each_replica, "delay", "--ms", "0")

    def report(self, settings: str) -> dict[str, Any]:
        text = support.manage("compare", "--rounds", str(ROUNDS), DJANGO_SETTINGS_MODULE=settings)
        report: dict[str, Any] = json.loads(text)
        return report

    def test_a_router_reads_stale_rows_and_sends_writes_to_replicas(self) -> None:
        report = self.report("board.settings.router")
        self.assertEqual(report["stale"], ROUNDS, report)
        self.assertEqual(report["missing"], ROUNDS, report)
        self.assertIn("cannot execute UPDATE in a read-only", report["raw_write"])
        self.assertIn("cannot execute nextval() in a read-only", report["sequence"])

    def test_pgweir_reads_fresh_rows_and_sends_writes_to_the_primary(self) -> None:
        if not support.EXPECT_PGWEIR:
            raise support.missing("pgweir")
        expected = {
            "rounds": ROUNDS,
            "stale": 0,
            "missing": 0,
            "raw_write": "ok",
            "sequence": "ok",
        }
        self.assertEqual(self.report("board.settings.demo"), expected)
