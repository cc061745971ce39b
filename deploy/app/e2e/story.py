"""One person's evening on the board, while every replica replays 200 ms late.

Nothing on the way may be stale at the default level, and the bar must prove it: every write on the
primary, reads on replicas once they have caught up.
"""

import io
import os
import tempfile
import time
import unittest
import uuid
from pathlib import Path

from PIL import Image

from board.posts import pictures

from . import support
from .support import Browser, Server

DELAY_MS = 200
SETTLE_SECONDS = 0.6


class Story(unittest.TestCase):
    """Each test is a chapter; they run in the order of their names, in one browser."""

    servers: list[Server] = []
    browser: Browser
    second: str
    post_path = ""
    title = ""
    name = ""
    delayed = False
    nodes_seen: dict[str, set[str]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.nodes_seen = {}
        cls.title = f"Story {uuid.uuid4().hex[:10]}"
        cls.name = f"reader{uuid.uuid4().hex[:8]}"
        cls.delayed = False
        url = os.environ.get("BOARD_URL", "")
        if not url:
            support.manage("migrate", "--verbosity=0")
            support.manage("seed")
            cls.servers = [Server().wait(), Server().wait()]
            for server in cls.servers:
                cls.addClassCleanup(server.stop)
            url = cls.servers[0].url
        # A second instance, if we have one: no state of a user lives in the first.
        cls.second = cls.servers[1].url if cls.servers else url
        cls.browser = Browser(url.rstrip("/"))
        cls.addClassCleanup(cls.browser.close)
        if support.EXPECT_PGWEIR:
            support.each_replica("delay", "--ms", str(DELAY_MS))
            cls.addClassCleanup(support.each_replica, "delay", "--ms", "0")
            cls.delayed = True

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """A chapter that fails ends the story: the next ones build on it."""
        result = super().run(result)
        if result is not None and (result.failures or result.errors):
            result.stop()
        return result

    def check_bar(self, *, which: str = "page") -> list[dict[str, str]]:
        """No write beside the primary; the nodes are noted for the last chapter."""
        rows = self.browser.rows(which)
        self.assertTrue(rows, f"the bar shows no statement on {self.browser.path}")
        for row in rows:
            if not support.EXPECT_PGWEIR:
                self.assertEqual(row["role"], "direct", row)
                continue
            self.assertIn(row["role"], {"primary", "replica"}, row)
            if row["kind"] in {"write", "lock"}:
                self.assertEqual(row["role"], "primary", row)
            self.nodes_seen.setdefault(row["role"], set()).add(row["node"])
        return rows

    def check_written(self, *verbs: str) -> None:
        """The form that led here wrote on the primary."""
        rows = self.check_bar(which="before")
        sql = " ".join(row["sql"] for row in rows if row["kind"] in {"write", "lock"})
        for verb in verbs:
            self.assertIn(verb, sql)

    def check_ajax(self, kind: str, role: str) -> None:
        """The newest Ajax call ran a statement of that kind on a node of that role."""
        summary = self.browser.ajax()
        if support.EXPECT_PGWEIR:
            counts = {node["role"]: node.get(kind, 0) for node in summary["nodes"]}
            self.assertTrue(counts.get(role), summary)
            for node in summary["nodes"]:
                self.assertFalse(node["role"] == "replica" and node.get("write"), summary)
        else:
            self.assertTrue(summary["direct"], summary)

    def seen_by_others(self) -> str:
        """The list as somebody else gets it, from another instance, over another connection."""
        status, _, page = support.get(f"{self.second}/")
        self.assertEqual(status, 200)
        return page

    def test_01_a_stranger_reads_from_replicas(self) -> None:
        time.sleep(SETTLE_SECONDS)
        self.browser.open("/")
        rows = self.check_bar()
        self.assertEqual(len(self.browser.all("article")), 12)
        if support.EXPECT_PGWEIR:
            self.assertEqual({row["role"] for row in rows}, {"replica"}, rows)
        self.browser.shot("list")

    def test_02_scrolling_fetches_the_next_page(self) -> None:
        self.browser.js("window.scrollTo(0, document.body.scrollHeight)")
        self.browser.until(lambda: len(self.browser.all("article")) >= 24, "more posts")
        self.check_ajax("read", "replica")

    def test_03_signing_up_shows_oneself_at_once(self) -> None:
        self.browser.open("/accounts/signup/")
        self.browser.fill("#id_username", self.name)
        self.browser.fill("#id_password1", support.PASSWORD)
        self.browser.fill("#id_password2", support.PASSWORD)
        self.browser.submit("#signup-form")
        self.assertIn(f"Welcome, {self.name}!", self.browser.text)
        self.check_bar()
        self.check_written('INSERT INTO "auth_user"', 'INSERT INTO "django_session"')

    def test_04_a_new_post_with_its_photo_is_there_for_everybody_at_once(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "my photo.png")
            Image.open(io.BytesIO(pictures.landscape(77))).save(path)
            self.browser.open("/create/")
            self.browser.fill("#id_title", self.title)
            self.browser.fill("#id_body", "Written in a hurry.\n\nRead at leisure.")
            self.browser.fill("#id_tag_names", "story, evening")
            self.browser.find("#id_photo").send_keys(str(path))
            self.browser.submit("#post-form")
        self.assertIn(self.title, seen := self.seen_by_others(), seen[:2000])
        self.assertRegex(self.browser.path, r"^/post/\d+/$")
        type(self).post_path = self.browser.path
        self.assertIn(self.title, self.browser.text)
        self.check_bar()
        self.check_written('INSERT INTO "posts_post"', 'INSERT INTO "posts_post_tags"')
        wide = "return document.querySelector('.photo').naturalWidth"
        self.browser.until(lambda: self.browser.js(wide) > 100, "the photo")
        self.browser.open("/")
        self.assertEqual(self.browser.find("article h2").text, self.title)
        self.check_bar()

    def test_05_an_edit_is_seen_at_once(self) -> None:
        self.browser.open(self.post_path.replace("post", "update"))
        type(self).title = f"{self.title}, edited"
        self.browser.fill("#id_title", self.title)
        self.browser.submit("#post-form")
        self.assertIn(self.title, self.seen_by_others())
        self.assertIn(self.title, self.browser.text)
        self.assertIn("version 2", self.browser.text)
        self.check_bar()
        self.check_written("FOR UPDATE", 'UPDATE "posts_post"')
        self.browser.shot("post")

    def test_06_a_comment_is_seen_at_once(self) -> None:
        self.browser.fill("#comment-form textarea", "Talking to myself. <b>Boldly</b>.")
        self.browser.submit("#comment-form")
        self.assertIn("Talking to myself. <b>Boldly</b>.", self.browser.find("#comments").text)
        self.assertIn("1 comment", self.browser.text)
        self.check_bar()
        self.check_written('INSERT INTO "posts_comment"')

    def test_07_a_like_by_fetch_is_kept(self) -> None:
        self.browser.click("form.like button")
        liked = "form.like button[aria-pressed=true]"
        self.browser.until(lambda: self.browser.find(liked), "the like")
        self.check_ajax("write", "primary")
        self.browser.open(self.post_path)
        self.assertEqual(self.browser.find(f"{liked} .count").text, "1")
        self.check_bar()

    def test_08_live_search_finds_the_new_post(self) -> None:
        self.browser.open("/")
        self.browser.fill("#search-box", self.title.split(",")[0])
        self.browser.until(self.found_alone, "the search's results")
        if not support.EXPECT_PGWEIR:
            self.check_ajax("read", "direct")

    def found_alone(self) -> bool:
        """The cards are the search's: ours is there, today's first post is not."""
        titles = [heading.text for heading in self.browser.all("article h2")]
        return self.title in titles and "Morning mist at the upper weir" not in titles

    def test_09_at_rest_everything_is_read_from_replicas(self) -> None:
        if not support.EXPECT_PGWEIR:
            raise support.missing("pgweir")
        # The page's own call counts the visit: let it come to rest first.
        self.browser.open(self.post_path)
        time.sleep(SETTLE_SECONDS)
        for path in ("/search/?q=edited", "/", "/insights/", f"/accounts/{self.name}/"):
            self.browser.open(path)
            time.sleep(0.1)
            rows = self.check_bar()
            roles = {row["role"] for row in rows if row["kind"] == "read"}
            self.assertEqual(roles, {"replica"}, (path, rows))
        self.browser.open("/search/?q=edited")
        self.assertIn(self.title, self.browser.text)

    def test_10_bad_input_gets_its_page_and_its_status(self) -> None:
        like = self.post_path.replace("post", "like")
        for method, path, token, size, status in (
            ("DELETE", like, True, 0, 405),
            ("GET", like, True, 0, 405),
            ("POST", like, False, 0, 403),
            ("POST", "/create/", True, 9 * 1024 * 1024, 413),
            ("POST", "/create/", True, 0, 422),
            ("PUT", f"/api/posts/{self.post_path.split('/')[2]}/", True, 0, 415),
            ("POST", "/like/99999999/", True, 0, 404),
        ):
            with self.subTest(f"{method} {path} {status}"):
                self.assertEqual(self.browser.fetch(method, path, token, size), status)
        host = {"Host": "evil.example"}
        self.assertEqual(support.get(f"{self.browser.url}/", host)[0], 400)
        self.browser.open("/create/")
        self.browser.js("document.querySelector('#id_title').removeAttribute('maxlength')")
        self.browser.js(
            "document.querySelector('#id_title').value = '<script>alert(1)</script>'.repeat(9)"
        )
        self.browser.fill("#id_body", "Long.")
        self.browser.submit("#post-form")
        self.assertIn("at most 120 characters", self.browser.text)
        self.browser.js("document.querySelector('#id_title').value = '<script>alert(2)</script>'")
        self.browser.submit("#post-form")
        self.assertEqual(self.browser.find("h1").text, "<script>alert(2)</script>")
        self.browser.open(self.browser.path.replace("post", "delete"))
        self.browser.submit("main form")

    def test_11_a_deleted_post_is_gone_at_once(self) -> None:
        self.browser.open(self.post_path.replace("post", "delete"))
        self.browser.submit("main form")
        self.assertEqual(self.browser.path, "/")
        self.assertNotIn(self.title, self.seen_by_others())
        titles = [heading.text for heading in self.browser.all("article h2")]
        self.assertNotIn(self.title, titles)
        self.check_bar()
        self.check_written("DELETE FROM")
        self.browser.open(self.post_path)
        self.assertIn("nothing at this address", self.browser.text)
        self.assertEqual(support.get(self.second + self.post_path)[0], 404)

    def test_12_logging_out_counts_on_every_instance(self) -> None:
        if self.servers:
            other = self.browser.driver.get_cookie("sessionid")
            assert other is not None
            cookie = {"Cookie": f"sessionid={other['value']}"}
            self.assertEqual(support.get(f"{self.second}/create/", cookie)[0], 200)
            self.browser.submit("header form[action$='logout/']")
            self.assertEqual(support.get(f"{self.second}/create/", cookie)[0], 302)
        else:
            self.browser.submit("header form[action$='logout/']")
        self.assertIn("Sign up", self.browser.find("header").text)

    def test_13_primary_and_replicas_took_part_and_nothing_went_wrong(self) -> None:
        if support.EXPECT_PGWEIR:
            self.assertEqual(len(self.nodes_seen.get("primary", ())), 1, self.nodes_seen)
            self.assertTrue(self.nodes_seen.get("replica"), self.nodes_seen)
        expected = ("405", "403", "413", "422", "415", "404", "400")
        complaints = [
            text
            for text in self.browser.console_errors()
            if not any(f"status of {status}" in text for status in expected)
        ]
        self.assertEqual(complaints, [])
        for server in self.servers:
            errors = [line for line in server.errors() if "DisallowedHost" not in line]
            self.assertEqual(errors, [])
