"""The JSON API, method by method."""

import json
from typing import Any

from django.test import Client, TestCase

from board.core.testing import person, post_by
from board.posts.models import Post


class Api(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        self.post = post_by(self.rosa, "Mist", "On the river.", "river")
        self.address = f"/api/posts/{self.post.pk}/"
        self.client.force_login(self.rosa)

    def send(self, method: str, address: str, body: Any, **headers: str) -> Any:
        kind = headers.pop("kind", "application/json")
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.client.generic(
            method,
            address,
            data if isinstance(data, bytes) else data.encode(),
            kind,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


class Reading(Api):
    def test_a_page_of_posts_names_the_next(self) -> None:
        post_by(self.rosa, "Second")
        response = self.client.get("/api/posts/?limit=1")
        [only] = response.json()["posts"]
        self.assertEqual(only["title"], "Second")
        self.assertEqual(response["Link"], f'</api/posts/?limit=1&before={only["id"]}>; rel="next"')
        rest = self.client.get(f"/api/posts/?limit=1&before={only['id']}")
        self.assertEqual(rest.json()["posts"][0]["title"], "Mist")
        self.assertNotIn("Link", rest)

    def test_a_page_needs_two_queries(self) -> None:
        for number in range(30):
            post_by(self.rosa, f"No. {number}", tags="a b")
        with self.assertNumQueries(2):
            Client().get("/api/posts/")

    def test_bad_paging_is_400(self) -> None:
        for query in ("limit=0", "limit=101", "limit=x", "before=-1", f"before={'9' * 30}"):
            with self.subTest(query):
                self.assertEqual(self.client.get(f"/api/posts/?{query}").status_code, 400)

    def test_one_post_has_validators(self) -> None:
        response = self.client.get(self.address)
        self.assertEqual(response.json()["tags"], ["river"])
        self.assertEqual(response["ETag"], self.post.etag)
        self.assertIn("Last-Modified", response)

    def test_what_the_client_has_already_is_304(self) -> None:
        first = self.client.get(self.address)
        for headers in (
            {"If-None-Match": first["ETag"]},
            {"If-None-Match": f'"other", W/{first["ETag"]}'},
            {"If-None-Match": "*"},
            {"If-Modified-Since": first["Last-Modified"]},
        ):
            with self.subTest(headers):
                again = self.client.get(self.address, headers=headers)
                self.assertEqual((again.status_code, again.content), (304, b""))
        stale = self.client.get(self.address, headers={"If-None-Match": '"1-1"'})
        self.assertEqual(stale.status_code, 200)

    def test_accept_chooses_or_is_406(self) -> None:
        table = self.client.get("/api/posts/", headers={"Accept": "text/csv"})
        self.assertEqual(table["Content-Type"], "text/csv; charset=utf-8")
        self.assertIn("Mist", table.content.decode())
        both = {"Accept": "text/csv;q=0.5, application/json"}
        self.assertEqual(
            self.client.get("/api/posts/", headers=both)["Content-Type"], "application/json"
        )
        self.assertIn("Accept", table["Vary"])
        none = self.client.get(self.address, headers={"Accept": "image/png"})
        self.assertEqual(none.status_code, 406)

    def test_head_and_options(self) -> None:
        head = self.client.head(self.address)
        self.assertEqual((head.status_code, head.content), (200, b""))
        self.assertEqual(int(head["Content-Length"]), len(self.client.get(self.address).content))
        options = self.client.options(self.address)
        self.assertEqual(options.status_code, 204)
        self.assertEqual(options["Allow"], "GET, PUT, PATCH, DELETE, HEAD, OPTIONS")
        self.assertIn("application/merge-patch+json", options["Accept-Patch"])

    def test_a_method_that_is_not_there_is_405_with_allow(self) -> None:
        response = self.send("DELETE", "/api/posts/", "")
        self.assertEqual(response.status_code, 405)
        self.assertEqual(response["Allow"], "GET, POST, HEAD, OPTIONS")

    def test_a_missing_post_is_404_in_json(self) -> None:
        response = self.client.get("/api/posts/999999/")
        self.assertEqual((response.status_code, response.json()["error"]), (404, "no such post"))


class Writing(Api):
    def test_post_creates_and_says_where(self) -> None:
        response = self.send(
            "POST", "/api/posts/", {"title": "New", "body": "Text", "tags": ["a", "b"]}
        )
        self.assertEqual(response.status_code, 201)
        self.assertEqual(response.json()["tags"], ["a", "b"])
        self.assertEqual(self.client.get(response["Location"]).json(), response.json())

    def test_put_replaces_the_whole(self) -> None:
        response = self.send("PUT", self.address, {"title": "Fog", "body": "Thick"})
        self.assertEqual(response.status_code, 200)
        self.assertEqual((response.json()["tags"], response.json()["version"]), ([], 2))
        missing = self.send("PUT", self.address, {"title": "Only"})
        self.assertEqual(
            (missing.status_code, missing.json()["fields"]), (422, {"body": "missing"})
        )

    def test_patch_changes_a_part(self) -> None:
        response = self.send(
            "PATCH", self.address, {"title": "Fog"}, kind="application/merge-patch+json"
        )
        changed = response.json()
        self.assertEqual((changed["title"], changed["body"]), ("Fog", "On the river."))
        self.assertEqual(changed["tags"], ["river"])

    def test_delete_leaves_nothing(self) -> None:
        self.assertEqual(self.send("DELETE", self.address, "").status_code, 204)
        self.assertEqual(self.client.get(self.address).status_code, 404)
        self.assertEqual(self.send("DELETE", self.address, "").status_code, 404)

    def test_if_match_keeps_from_overwriting_what_was_not_seen(self) -> None:
        seen = self.client.get(self.address)["ETag"]
        first = self.send("PATCH", self.address, {"title": "One"}, If_Match=seen)
        self.assertEqual(first.status_code, 200)
        second = self.send("PATCH", self.address, {"title": "Two"}, If_Match=seen)
        self.assertEqual((second.status_code, second.json()["version"]), (412, 2))
        self.assertEqual(self.send("DELETE", self.address, "", If_Match=seen).status_code, 412)
        third = self.send("PATCH", self.address, {"title": "Three"}, If_Match=first["ETag"])
        self.assertEqual(third.json()["title"], "Three")

    def test_what_does_not_describe_a_post_is_422(self) -> None:
        for body in (
            {"title": "x" * 121, "body": "y"},
            {"title": 7, "body": "y"},
            {"title": "x", "body": "y", "author": "tom"},
            {"title": "x", "body": "y", "tags": "a"},
            {"title": "x", "body": "y", "tags": ["a"] * 1 + list("bcdefg")},
            ["x"],
            None,
        ):
            with self.subTest(body):
                response = self.send("POST", "/api/posts/", body)
                self.assertEqual(response.status_code, 422)
                self.assertTrue(response.json()["fields"])
        self.assertEqual(Post.objects.count(), 1)

    def test_what_is_no_json_is_400_and_another_type_415(self) -> None:
        for body in (b"{", b"\xff\xfe", b"[" * 100_000):
            self.assertEqual(self.send("POST", "/api/posts/", body).status_code, 400)
        response = self.send("POST", "/api/posts/", "title=x", kind="text/plain")
        self.assertEqual((response.status_code, response["Accept"]), (415, "application/json"))

    def test_a_large_body_is_413(self) -> None:
        body = {"title": "x", "body": "y" * 300_000}
        self.assertEqual(self.send("POST", "/api/posts/", body).status_code, 413)

    def test_strangers_are_401_and_others_403(self) -> None:
        stranger = Client().delete(self.address)
        self.assertEqual(stranger.status_code, 401)
        self.assertIn("WWW-Authenticate", stranger)
        self.client.force_login(person("tom"))
        self.assertEqual(self.send("PATCH", self.address, {"title": "Mine"}).status_code, 403)
        self.assertEqual(Post.objects.get().title, "Mist")

    def test_a_missing_csrf_token_is_403_in_json(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(self.rosa)
        response = strict.delete(self.address)
        self.assertEqual(response.status_code, 403)
        self.assertIn("CSRF", response.json()["error"])
