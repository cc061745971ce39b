"""The bar, the levels and the control room, with and without pgweir's notices."""

import json
import os
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http import HttpResponse
from django.test import (
    RequestFactory,
    SimpleTestCase,
    TestCase,
    TransactionTestCase,
    override_settings,
)

from board.core.testing import person, post_by
from board.weir import consistency, demo, experiments, load, metrics, middleware, trace

REPLICA = "pgweir: node=127.0.0.1:5433 role=replica reason=read_only waited_ms=0.5 lag_ms=0.8"
PRIMARY = "pgweir: node=127.0.0.1:5432 role=primary reason=write waited_ms=0 lag_ms=0"


def route(text: str) -> trace.Route:
    parsed = trace.parse(text)
    assert parsed is not None
    return parsed


class Notices(SimpleTestCase):
    def test_a_notice_is_read_and_others_are_passed_over(self) -> None:
        self.assertEqual(
            trace.parse(REPLICA), trace.Route("127.0.0.1:5433", "replica", "read_only", 0.5, 0.8)
        )
        for text in (
            "",
            "relation exists, skipping",
            "pgweir: no lag to speak of",
            "pgweir: node=x",
        ):
            self.assertIsNone(trace.parse(text))
        self.assertEqual(route("pgweir: node=a role=replica lag_ms=?").lag_ms, 0.0)

    def test_statements_are_told_apart_by_what_they_do(self) -> None:
        for sql, kind in {
            "SELECT 1": "read",
            "  (select 1) union (select 2)": "read",
            "SELECT a FROM t WHERE id = %s FOR UPDATE": "lock",
            "UPDATE t SET a = 1": "write",
            "INSERT INTO t VALUES (1)": "write",
            'SAVEPOINT "x"': "control",
            "": "control",
        }.items():
            self.assertEqual(trace.Statement(sql).kind, kind, sql)

    def test_a_begin_before_the_statement_does_not_take_its_place(self) -> None:
        traced = trace.Trace(running=True)
        traced.on_notice(route(PRIMARY))
        traced.on_notice(route(REPLICA))
        traced.on_statement(trace.Statement("SELECT 1"))
        self.assertEqual(traced.statements[0].route, route(REPLICA))
        traced.running = False
        traced.on_notice(route(PRIMARY))
        self.assertEqual(traced.statements[1].kind, "control")

    @override_settings(WEIR_NODE_NAMES={"127.0.0.1:5433": "replica-1"})
    def test_the_summary_says_it_in_a_line(self) -> None:
        statements = [
            trace.Statement("UPDATE t SET a = 1", route=route(PRIMARY)),
            *[trace.Statement("SELECT 1", route=route(REPLICA))] * 3,
        ]
        summary = trace.summarise(statements)
        self.assertEqual(
            summary["text"],
            "1 write on primary 127.0.0.1:5432 · 3 reads on replica-1 · lag 0.8 ms · waited 0.5 ms",
        )
        self.assertFalse(summary["direct"])
        self.assertEqual(trace.summarise(statements[:0])["text"], "no statement")
        direct = trace.summarise([trace.Statement("SELECT 1")])
        self.assertEqual(
            (direct["direct"], direct["text"]), (True, "direct connection: 1 statement")
        )


class Bar(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        post_by(self.rosa)

    def test_every_page_carries_the_bar_and_every_answer_the_header(self) -> None:
        response = self.client.get("/")
        self.assertContains(response, 'id="weir-bar"')
        self.assertNotContains(response, "<!--weir:")
        self.assertContains(response, 'data-statements="page"')
        self.assertEqual(json.loads(response["X-Weir"])["statements"], 2)
        self.assertIn("X-Weir", self.client.get("/api/posts/"))

    def test_the_length_is_that_of_the_page_with_its_bar(self) -> None:
        response = self.client.get("/")
        self.assertEqual(int(response["Content-Length"]), len(response.content))

    def test_what_a_form_did_is_told_on_the_page_it_leads_to(self) -> None:
        self.client.force_login(self.rosa)
        response = self.client.post("/create/", {"title": "Fog", "body": "Thick"})
        self.assertIn(middleware.BEFORE_COOKIE, response.cookies)
        page = self.client.get(response["Location"])
        self.assertContains(page, "POST /create/, which led here")
        self.assertContains(page, "INSERT INTO &quot;posts_post&quot;")
        self.assertNotContains(self.client.get("/"), "which led here")

    def test_the_cookie_is_small_and_holds_no_value_of_anybody(self) -> None:
        self.client.force_login(self.rosa)
        secret = "nobody-must-know"
        response = self.client.post("/create/", {"title": secret, "body": secret * 50})
        morsel = response.cookies[middleware.BEFORE_COOKIE]
        self.assertLess(len(morsel.value), middleware.COOKIE_CHARS_MAX + 1)
        request: WSGIRequest = RequestFactory().get("/")
        request.COOKIES[middleware.BEFORE_COOKIE] = morsel.value
        before = middleware.TraceStatements(lambda r: HttpResponse()).from_before(request)
        self.assertIsNotNone(before)
        self.assertNotIn(secret, str(before))

    def test_a_forged_cookie_is_nothing(self) -> None:
        self.client.cookies[middleware.BEFORE_COOKIE] = "forged"
        self.assertNotContains(self.client.get("/"), "which led here")

    def test_a_transaction_of_many_statements_still_fits_into_the_cookie(self) -> None:
        traced = trace.Trace()
        for number in range(300):
            traced.add(
                trace.Statement(
                    f"UPDATE t{number} SET x = {os.urandom(40).hex()}", route=route(PRIMARY)
                )
            )
        request, response = RequestFactory().post("/x/"), HttpResponse(status=302)
        middleware.TraceStatements(lambda r: response).send_ahead(request, response, traced)
        self.assertLess(len(response.cookies[middleware.BEFORE_COOKIE].value), 3801)


class Levels(TestCase):
    def setting(self) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('pgweir.consistency', true)")
            row = cursor.fetchone()
            assert row is not None
            return row[0] or ""

    def test_a_chosen_level_is_kept_in_the_session_and_set_for_each_page(self) -> None:
        response = self.client.post("/weir/level/", {"level": "session", "next": "/insights/"})
        self.assertRedirects(response, "/insights/")
        with mock.patch("board.weir.consistency.at", wraps=consistency.at) as at:
            self.assertContains(self.client.get("/"), 'value="session" selected')
        at.assert_called_once_with("session")
        self.client.post("/weir/level/", {"level": ""})
        with mock.patch("board.weir.consistency.at", wraps=consistency.at) as at:
            self.client.get("/")
        at.assert_not_called()

    def test_the_level_holds_for_the_block_and_no_longer(self) -> None:
        before = self.setting()
        with consistency.at("global"):
            self.assertEqual(self.setting(), "global")
        self.assertEqual(self.setting(), before)

    def test_a_level_that_there_is_not_is_400_and_other_sites_are_not_led_to(self) -> None:
        self.assertEqual(self.client.post("/weir/level/", {"level": "x'; --"}).status_code, 400)
        response = self.client.post(
            "/weir/level/", {"level": "session", "next": "https://evil.example/"}
        )
        self.assertEqual(response["Location"], "/")
        self.assertEqual(self.client.get("/weir/level/").status_code, 405)


PAGE = """\
# HELP pgweir_node_up Whether the node answers.
# TYPE pgweir_node_up gauge
pgweir_node_up{node="127.0.0.1:5432"} 1
pgweir_node_up{node="127.0.0.1:5433"} 0
pgweir_node_is_primary{node="127.0.0.1:5432"} 1
pgweir_node_is_primary{node="127.0.0.1:5433"} 0
pgweir_replica_lag_bytes{node="127.0.0.1:5433"} 2048
pgweir_replica_lag_seconds{node="127.0.0.1:5433"} 0.25
pgweir_server_connections{node="127.0.0.1:5433",state="idle"} 3
pgweir_server_connections{node="127.0.0.1:5433",state="active"} 2
pgweir_clients{state="active"} 4
pgweir_clients{state="idle"} 1
pgweir_build_info{version="0.1.0"} 1
go_threads 7
broken line
"""


class Figures(SimpleTestCase):
    def test_the_page_of_metrics_is_read_by_node(self) -> None:
        samples = metrics.parse(PAGE)
        nodes = metrics.nodes(samples)
        self.assertEqual(nodes["127.0.0.1:5432"]["role"], "primary")
        self.assertEqual(
            nodes["127.0.0.1:5433"],
            {
                "node": "127.0.0.1:5433",
                "connections": 5,
                "up": False,
                "role": "replica",
                "lag_bytes": 2048,
                "lag_ms": 250.0,
            },
        )
        self.assertEqual(metrics.clients(samples), 5)

    @override_settings(WEIR_HTTP="http://127.0.0.1:1")
    def test_nobody_there_is_none(self) -> None:
        self.assertIsNone(metrics.fetch())

    def test_quantiles(self) -> None:
        self.assertEqual(load.quantile([], 0.5), 0.0)
        self.assertEqual(load.quantile([1.0, 2.0, 3.0, 4.0], 0.5), 3.0)
        self.assertEqual(load.quantile([1.0, 2.0], 0.99), 2.0)


class Demo(SimpleTestCase):
    def demo_file(self, directory: str) -> Path:
        node = {"zone": "a", "dsn": "host=127.0.0.1 port=1 user=x", "data": f"{directory}/n"}
        config = Path(directory, "pgweir.toml")
        config.write_text('[cluster]\nnodes = ["127.0.0.1:1", "127.0.0.1:2"]\nuser = "x"\n')
        path = Path(directory, "nodes.json")
        path.write_text(
            json.dumps(
                {
                    "bin": "/nowhere",
                    "config": str(config),
                    "nodes": [
                        {"name": "primary", "address": "127.0.0.1:1", **node},
                        {"name": "replica-1", "address": "127.0.0.1:2", **node},
                    ],
                }
            )
        )
        return path

    def refused(self, *words: Any) -> str:
        with self.assertRaises(demo.Refused) as caught:
            demo.act(*words)
        return str(caught.exception)

    def test_without_its_file_there_are_no_buttons(self) -> None:
        self.assertIsNone(demo.load())
        self.assertIn("not the demo", self.refused("stop", "replica-1"))

    def test_what_cannot_be_done_is_refused_with_a_reason(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = self.demo_file(directory)
            with override_settings(WEIR_DEMO_NODES=str(path)):
                self.assertIn("no node x", self.refused("stop", "x"))
                self.assertIn("nobody can", self.refused("explode", "replica-1"))
                self.assertIn("0 to", self.refused("delay", "replica-1", 10**9))
                self.assertIn("replica-1:", self.refused("pause", "replica-1"))
                self.assertIn("/nowhere/pg_ctl", self.refused("stop", "replica-1"))
            path.write_text("{")
            with override_settings(WEIR_DEMO_NODES=str(path)):
                self.assertIn("nodes.json", self.refused("stop", "replica-1"))

    def test_a_new_node_is_written_into_both_files(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = self.demo_file(directory)
            with override_settings(WEIR_DEMO_NODES=str(path)):
                described = demo.load()
                assert described is not None
                node = demo.Node("replica-2", "127.0.0.1:3", "b", "/d", "dsn")
                demo.remember(described, node)
                demo.tell_pgweir(described, node)
                self.assertEqual(demo.load().nodes[-1], node)  # type: ignore[union-attr]
                self.assertEqual(demo.name_of("127.0.0.1:3"), "replica-2")
                self.assertIsNone(demo.name_of("127.0.0.1:9"))
            text = Path(directory, "pgweir.toml").read_text()
            self.assertEqual(
                tomllib.loads(text)["cluster"]["nodes"],
                ["127.0.0.1:1", "127.0.0.1:2", {"address": "127.0.0.1:3", "zone": "b"}],
            )
            self.assertTrue(text.endswith('user = "x"\n'))

    def test_a_list_of_tables_with_groups_is_added_to_at_its_end(self) -> None:
        node = demo.Node("replica-2", "h:3", "b", "/d", "dsn")
        entries = '"h:1",\n  { address = "h:2", groups = ["a]"] },'
        text = f'[cluster]\nnodes = [\n  {entries}\n]\nzone = "b"\n'
        cluster = tomllib.loads(demo.with_node(text, node))["cluster"]
        self.assertEqual(cluster["nodes"][1]["groups"], ["a]"])
        self.assertEqual(cluster["nodes"][2], {"address": "h:3", "zone": "b"})
        text = '[[cluster.nodes]]\naddress = "h:1"\n\n[[rule]]\nname = "r"\n'
        parsed = tomllib.loads(demo.with_node(text, node))
        added = {"address": "h:3", "zone": "b"}
        self.assertEqual(parsed["cluster"]["nodes"], [{"address": "h:1"}, added])
        self.assertEqual(parsed["rule"], [{"name": "r"}])
        for broken in ("[cluster]\n", 'nodes = ["h:1"'):
            with self.assertRaises(demo.Refused):
                demo.with_node(broken, node)


class Room(TransactionTestCase):
    def test_the_room_opens_and_answers(self) -> None:
        self.assertContains(self.client.get("/weir/"), "Control room")
        self.assertIn("nodes", self.client.get("/weir/status.json").json())

    def test_writing_and_reading_back_at_the_default_level_is_never_stale(self) -> None:
        answer = self.client.post("/weir/freshness/", {"rounds": "10"}).json()
        self.assertEqual((answer["rounds"], answer["stale"]), (10, 0))
        self.assertEqual(sum(answer["nodes"].values()), 10)
        self.assertEqual(self.client.post("/weir/freshness/", {"level": "x"}).status_code, 400)

    def test_many_reads_are_counted_by_node(self) -> None:
        answer = self.client.post("/weir/spread/", {"reads": "25"}).json()
        self.assertEqual(sum(answer["nodes"].values()), 25)
        self.assertEqual(experiments.many_reads(0).popitem()[1], 1)

    def test_a_peak_streams_its_ticks_and_leaves_no_thread(self) -> None:
        post_by(person())
        response = self.client.post("/weir/peak/", {"clients": "2", "seconds": "1"})
        ticks = [json.loads(line) for line in response.getvalue().splitlines()]
        self.assertGreaterEqual(len(ticks), 2)
        self.assertGreater(sum(tick["per_second"] for tick in ticks), 0)
        self.assertEqual(ticks[-1]["errors"], {})

    def test_nodes_are_left_alone_outside_the_demo(self) -> None:
        answer = self.client.post("/weir/node/", {"action": "stop", "name": "replica-1"})
        self.assertEqual(answer.status_code, 409)
        self.assertEqual(self.client.post("/weir/node/", {"action": "rm"}).status_code, 400)

    def test_production_has_no_control_room(self) -> None:
        with override_settings(WEIR_BAR=False):
            pages: list[Callable[[], Any]] = [
                lambda: self.client.get("/weir/"),
                lambda: self.client.get("/weir/status.json"),
                lambda: self.client.post("/weir/peak/"),
                lambda: self.client.post("/weir/node/"),
            ]
            for page in pages:
                self.assertEqual(page().status_code, 404)
            self.assertNotContains(self.client.get("/"), "weir-bar")
