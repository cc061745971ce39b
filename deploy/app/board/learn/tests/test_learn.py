"""The learners' pages."""

from django.test import TestCase, TransactionTestCase

from board.learn import race


class Echo(TestCase):
    def test_it_shows_request_line_headers_and_body(self) -> None:
        response = self.client.put(
            "/learn/request/?a=1",
            b'{"river": "Ouse"}',
            "application/json",
            headers={"Accept": "application/json", "X-Test": "<b>"},
        )
        seen = response.json()
        self.assertEqual(seen["request_line"], "PUT /learn/request/?a=1 HTTP/1.1")
        self.assertEqual(seen["headers"]["X-Test"], "<b>")
        self.assertEqual(seen["body"], '{"river": "Ouse"}')

    def test_the_page_escapes_what_it_shows(self) -> None:
        response = self.client.get("/learn/request/?<script>", headers={"X-Test": "<script>1"})
        self.assertContains(response, "X-Test: &lt;script&gt;1")
        self.assertNotContains(response, "<script>1")

    def test_cookies_and_tokens_are_hidden(self) -> None:
        self.client.cookies["sessionid"] = "very-secret"
        body = "csrfmiddlewaretoken=very-secret&river=Cam"
        kind = "application/x-www-form-urlencoded"
        response = self.client.post(
            "/learn/request/", body, kind, headers={"Authorization": "Basic very-secret"}
        )
        self.assertNotContains(response, "very-secret")
        self.assertContains(response, "river=Cam")

    def test_it_speaks_plain_text_and_knows_its_methods(self) -> None:
        text = self.client.get("/learn/request/", headers={"Accept": "text/plain"})
        self.assertEqual(text["Content-Type"], "text/plain; charset=utf-8")
        self.assertEqual(self.client.generic("TRACE", "/learn/request/").status_code, 405)


class Race(TransactionTestCase):
    def test_reading_and_writing_back_loses_edits_and_the_guards_lose_none(self) -> None:
        lost = {way: race.run(way).lost for way in race.WAYS}
        self.assertGreater(lost.pop("naive"), 0)
        self.assertEqual(lost, {"expression": 0, "locked": 0, "versioned": 0})

    def test_the_page_runs_it_on_request(self) -> None:
        self.assertNotContains(self.client.get("/learn/race/"), "data-lost")
        self.assertContains(self.client.post("/learn/race/"), 'data-way="locked" data-lost="0"')
