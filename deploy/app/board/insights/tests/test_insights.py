"""The report."""

import csv
import datetime
import io
import threading

from django.db import connection
from django.test import TestCase, TransactionTestCase
from django.utils import timezone

from board.core.testing import person, post_by
from board.insights.models import Visit, count_visit


class Report(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        self.posts = [post_by(self.rosa, f"No. {n}", tags="river mill") for n in range(8)]
        today = timezone.localdate()
        for number, post in enumerate(self.posts):
            for back in range(3):
                Visit.objects.create(
                    post=post, day=today - datetime.timedelta(days=back), count=number + 1
                )

    def test_the_figures_are_right_and_cost_five_queries(self) -> None:
        with self.assertNumQueries(5):
            response = self.client.get("/insights/")
        self.assertEqual(response.context["visits_total"], 3 * sum(range(1, 9)))
        self.assertEqual(response.context["totals"]["posts"], 8)
        self.assertEqual(response.context["posts"][0]["label"], "No. 7")
        self.assertEqual(response.context["posts"][0]["value"], 24)
        self.assertEqual(response.context["columns"][-1]["count"], 36)

    def test_an_empty_board_has_a_report_too(self) -> None:
        for post in self.posts:
            post.delete()
        self.assertContains(self.client.get("/insights/"), "Nothing yet")

    def test_the_export_streams_all_posts_and_no_formulas(self) -> None:
        post_by(self.rosa, "=1+1")
        response = self.client.get("/insights/posts.csv")
        self.assertTrue(response.streaming)
        rows = list(csv.DictReader(io.StringIO(response.getvalue().decode())))
        self.assertEqual(len(rows), 9)
        self.assertEqual((rows[0]["title"], rows[0]["visits"]), ("No. 0", "3"))
        self.assertEqual(rows[-1]["title"], "'=1+1")

    def test_a_visit_is_counted_by_post_only(self) -> None:
        address = f"/insights/visit/{self.posts[0].pk}/"
        self.assertEqual(self.client.get(address).status_code, 405)
        self.assertEqual(self.client.post(address).status_code, 204)
        self.assertEqual(Visit.objects.get(post=self.posts[0], day=timezone.localdate()).count, 2)
        self.assertEqual(self.client.post("/insights/visit/999999/").status_code, 404)


class ManyVisitors(TransactionTestCase):
    def test_visits_at_once_are_all_counted(self) -> None:
        post = post_by(person())
        today = timezone.localdate()

        def visitor() -> None:
            for _ in range(5):
                count_visit(post, today)
            connection.close()

        threads = [threading.Thread(target=visitor) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(Visit.objects.get().count, 25)

    def test_the_export_reads_through_a_server_side_cursor_outside_a_transaction(self) -> None:
        author = person()
        for number in range(3):
            post_by(author, f"No. {number}")
        text = self.client.get("/insights/posts.csv").getvalue().decode()
        self.assertEqual(len(text.splitlines()), 4)
