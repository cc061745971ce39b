"""The control room, clicked through: stale and fresh, zones, a peak, a replica added meanwhile."""

import json
import os
import time
import unittest
from pathlib import Path
from typing import Any

from . import support
from .support import Browser, Server


class ControlRoom(unittest.TestCase):
    browser: Browser
    replicas: list[str]
    description: dict[str, Any]

    @classmethod
    def setUpClass(cls) -> None:
        if not support.EXPECT_PGWEIR:
            raise support.missing("pgweir")
        cls.replicas = support.demo_nodes()
        url = os.environ.get("BOARD_URL", "")
        if not url:
            support.manage("migrate", "--verbosity=0")
            support.manage("seed")
            server = Server(BOARD_THREADS="8").wait()
            cls.addClassCleanup(server.stop)
            url = server.url
        cls.browser = Browser(url.rstrip("/"), height=1400)
        cls.addClassCleanup(cls.browser.close)
        cls.description = json.loads(Path(os.environ["PGWEIR_DEMO_NODES"]).read_text())

    def setUp(self) -> None:
        self.browser.open("/weir/")

    def press(self, action: str, name: str, state: str) -> None:
        """Presses a node's button and waits until the table shows its new state."""
        button = f"tr[data-name='{name}'] [data-action={action}]"
        self.browser.until(lambda: self.browser.find(button).is_enabled(), f"{action} {name}")
        self.browser.js("document.querySelector(arguments[0]).click()", button)
        row = f"tr[data-name='{name}'][data-state='{state}']"
        self.browser.until(lambda: self.browser.find(row), f"{name} to be {state}")

    def stale(self, level: str) -> int:
        """How many of the page's reads were stale at a level."""
        self.browser.js(
            "document.querySelector('#fresh-level').value = arguments[0];"
            "document.querySelector('#freshness-answer').replaceChildren();",
            level,
        )
        self.browser.click("#freshness button")
        verdict = self.browser.until(
            lambda: self.browser.find("#freshness-answer [data-stale]"), "the verdict"
        )
        return int(verdict.get_attribute("data-stale") or -1)

    def spread(self) -> dict[str, int]:
        """Which nodes answered sixty reads."""
        self.browser.js("document.querySelector('#spread-answer').replaceChildren()")
        self.browser.click("#spread button")
        self.browser.until(lambda: self.browser.all("#spread-answer .meter"), "the reads")
        script = """
            return Object.fromEntries([...document.querySelectorAll("#spread-answer .meter")]
                .map((row) => [row.dataset.node, Number(row.dataset.count)]));
        """
        nodes: dict[str, int] = self.browser.js(script)
        return nodes

    def node(self, name: str, nodes: dict[str, int]) -> int:
        """The reads of one node, by its name or address."""
        address = next(n["address"] for n in self.description["nodes"] if n["name"] == name)
        return sum(count for node, count in nodes.items() if name == node or address in node)

    def test_1_with_replay_paused_reads_turn_stale_and_fresh_by_level(self) -> None:
        for name in self.replicas:
            self.press("pause", name, "paused")
        try:
            self.assertEqual(self.stale(""), 0)
            self.assertEqual(self.stale("global"), 0)
            self.assertGreater(self.stale("eventual"), 0)
            self.browser.shot("control-room")
        finally:
            for name in self.replicas:
                self.press("resume", name, "up")
        # `session` promises a session its own writes; here another connection reads.
        self.assertEqual(self.stale("proxy"), 0)

    def test_2_a_level_of_ones_own_follows_from_page_to_page(self) -> None:
        self.browser.click("#weir-bar summary")
        self.browser.js("document.querySelector('#weir-level').value = 'eventual'")
        self.browser.submit(".weir-level")
        self.assertIn("eventual", self.browser.text)
        self.browser.open("/insights/")
        chosen = "return document.querySelector('#weir-level').value"
        self.assertEqual(self.browser.js(chosen), "eventual")
        sql = " ".join(row["sql"] for row in self.browser.rows("page"))
        self.assertIn("SET pgweir.consistency = 'eventual'", sql)
        self.browser.click("#weir-bar summary")
        self.browser.js("document.querySelector('#weir-level').value = ''")
        self.browser.submit(".weir-level")

    def test_3_reads_spill_over_when_the_own_zone_is_stopped(self) -> None:
        zone = self.description.get("zone")
        nodes = {n["name"]: n for n in self.description["nodes"] if n["name"] != "primary"}
        own = [name for name, node in nodes.items() if node["zone"] == zone]
        others = [name for name, node in nodes.items() if node["zone"] != zone]
        if not own or not others:
            raise support.missing("replicas in two zones")
        time.sleep(1)
        before = self.spread()
        self.assertGreater(sum(self.node(name, before) for name in own), 50, before)
        for name in own:
            self.press("stop", name, "down")
        try:
            after = self.spread()
            self.assertGreater(sum(self.node(name, after) for name in others), 50, after)
            self.browser.shot("zones")
        finally:
            for name in own:
                self.press("start", name, "up")
        back = lambda: sum(self.node(name, self.spread()) for name in own) > 30  # noqa: E731
        self.browser.until(back, "the reads to come back", 30)

    def test_4_a_replica_added_during_a_peak_takes_its_share(self) -> None:
        self.browser.js("document.querySelector('#peak-seconds').value = '14'")
        self.browser.js("document.querySelector('#peak-clients').value = '4'")
        self.browser.click("#peak button")
        line = "return document.querySelector('#peak-line').textContent"
        self.browser.until(lambda: "clicks/s" in self.browser.js(line), "the peak's first tick")
        if not os.environ.get("BOARD_KEEP_NODES"):
            self.browser.click("[data-action=add]")
        done = "return document.querySelector('#peak-line').dataset.done"
        self.browser.until(lambda: self.browser.js(done) == "1", "the peak's end", 60)
        self.assertNotIn("errors", self.browser.js(line))
        self.browser.shot("peak")
        if os.environ.get("BOARD_KEEP_NODES"):
            return
        described = json.loads(Path(os.environ["PGWEIR_DEMO_NODES"]).read_text())
        new = described["nodes"][-1]["name"]
        self.assertNotIn(new, self.replicas)
        legend = self.browser.find("#peak-legend").text
        self.assertIn(new, legend)

    def test_5_a_model_reads_from_its_own_group_by_rule(self) -> None:
        own = [
            n["address"] for n in self.description["nodes"] if "analytics" in n.get("groups", [])
        ]
        if not own:
            raise support.missing("a node in the group analytics")
        time.sleep(1)
        self.browser.open("/insights/")
        rows = self.browser.rows("page")
        visits = [row for row in rows if "insights_visit" in row["sql"]]
        self.assertEqual({row["node"] for row in visits}, set(own), rows)
        self.assertTrue(visits)
        others = {row["node"] for row in rows if "insights_visit" not in row["sql"]}
        self.assertFalse(others & set(own), rows)
        self.browser.shot("insights")

    def test_6_the_browser_had_nothing_to_complain_of(self) -> None:
        self.assertEqual(self.browser.console_errors(), [])
