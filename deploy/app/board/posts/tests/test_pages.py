"""The board's pages as a browser asks for them."""

from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone

from board.core.testing import person, post_by
from board.posts.models import Comment, Post
from board.posts.views import PAGE_POSTS


class Lists(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        for number in range(PAGE_POSTS + 3):
            post_by(self.rosa, f"Post {number}", tags="river mill" if number % 2 else "river")

    def test_the_list_needs_two_queries_however_many_posts(self) -> None:
        with self.assertNumQueries(2):
            response = self.client.get("/")
        self.assertEqual(len(response.context["posts"]), PAGE_POSTS)

    def test_a_member_needs_two_more_for_session_and_user(self) -> None:
        self.client.force_login(self.rosa)
        with self.assertNumQueries(4):
            self.client.get("/")

    def test_the_next_page_follows_by_key_and_does_not_shift_when_somebody_posts(self) -> None:
        first = [post.pk for post in self.client.get("/").context["posts"]]
        post_by(self.rosa, "New one")
        second = [p.pk for p in self.client.get("/", {"before": first[-1]}).context["posts"]]
        self.assertEqual(len(second), 3)
        self.assertFalse(set(first) & set(second))

    def test_a_script_gets_cards_without_the_page_around_them(self) -> None:
        response = self.client.get("/", headers={"X-Requested-With": "XMLHttpRequest"})
        self.assertNotContains(response, "<html")
        self.assertContains(response, "<article", count=PAGE_POSTS)

    def test_nonsense_in_before_is_not_found(self) -> None:
        for nonsense in ("x", "-1", "1 OR 1=1", "9" * 40):
            with self.subTest(nonsense):
                self.assertEqual(self.client.get("/", {"before": nonsense}).status_code, 404)

    def test_a_tag_lists_its_posts_only(self) -> None:
        response = self.client.get("/tag/mill/")
        self.assertEqual(len(response.context["posts"]), (PAGE_POSTS + 3) // 2)
        self.assertEqual(self.client.get("/tag/unheard-of/").status_code, 404)

    def test_a_month_comes_from_the_named_groups_of_the_address(self) -> None:
        now = timezone.now()
        here = self.client.get(reverse("posts:month", args=[f"{now:%Y}", f"{now:%m}"]))
        self.assertEqual(len(here.context["posts"]), PAGE_POSTS)
        self.assertContains(self.client.get("/archive/2001/01/"), "Nothing here yet")
        self.assertEqual(self.client.get("/archive/2001/13/").status_code, 404)


class Detail(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        self.post = post_by(self.rosa, tags="river")

    def test_a_post_with_many_comments_needs_three_queries(self) -> None:
        for number in range(20):
            Comment.objects.create(post=self.post, author=self.rosa, body=f"No. {number}")
        with self.assertNumQueries(3):
            self.assertContains(self.client.get(self.post.get_absolute_url()), "No. 19")

    def test_what_people_write_is_shown_as_text(self) -> None:
        post = post_by(self.rosa, "<script>alert(1)</script>", "<img src=x onerror=alert(2)>")
        for address in (post.get_absolute_url(), "/", "/search/?q=script"):
            response = self.client.get(address)
            self.assertNotContains(response, "<script>alert")
            self.assertNotContains(response, "<img src=x")
        self.assertContains(self.client.get("/"), "&lt;script&gt;alert(1)")

    def test_a_deleted_post_is_not_found(self) -> None:
        address = self.post.get_absolute_url()
        self.post.delete()
        response = self.client.get(address)
        self.assertContains(response, "nothing at this address", status_code=404)

    def test_a_number_beyond_the_database_is_not_found(self) -> None:
        self.assertEqual(self.client.get(f"/post/{'9' * 30}/").status_code, 404)

    def test_head_gives_the_headers_of_get_without_a_body(self) -> None:
        got = self.client.get("/")
        head = self.client.head("/")
        self.assertEqual(head.content, b"")
        self.assertEqual(head["Content-Type"], got["Content-Type"])


class Search(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        post_by(self.rosa, "Otter tracks", "On the sandbank", "otter")
        post_by(self.rosa, "Swimming", "Nine degrees, with otters watching")
        post_by(self.rosa, "Bread", "The slow way", "rye")

    def found(self, text: str) -> list[str]:
        return [post.title for post in self.client.get("/search/", {"q": text}).context["posts"]]

    def test_words_are_found_by_stem_and_by_beginning(self) -> None:
        self.assertEqual(self.found("swim"), ["Swimming"])
        self.assertCountEqual(self.found("ott"), ["Otter tracks", "Swimming"])

    def test_a_tag_finds_its_posts(self) -> None:
        self.assertEqual(self.found("rye"), ["Bread"])

    def test_all_words_must_be_there(self) -> None:
        self.assertEqual(self.found("otter sandbank"), ["Otter tracks"])

    def test_query_syntax_and_nonsense_do_no_harm(self) -> None:
        for text in (
            "'); DROP TABLE posts_post; --",
            "a & | ! :*",
            "\\",
            "((",
            "\0",
            "🦦",
            "x" * 500,
        ):
            with self.subTest(text):
                self.assertEqual(self.client.get("/search/", {"q": text}).status_code, 200)

    def test_searching_needs_two_queries(self) -> None:
        with self.assertNumQueries(2):
            self.found("otter")

    def test_only_safe_methods_search(self) -> None:
        response = self.client.post("/search/", {"q": "x"})
        self.assertEqual(response.status_code, 405)
        self.assertEqual(response["Allow"], "GET, HEAD")


class Guards(TestCase):
    def setUp(self) -> None:
        self.post = post_by(person())

    def test_strangers_are_sent_to_the_login(self) -> None:
        for name in ("update", "delete"):
            address = reverse(f"posts:{name}", args=[self.post.pk])
            self.assertRedirects(self.client.get(address), f"/accounts/login/?next={address}")

    def test_somebody_elses_post_is_forbidden(self) -> None:
        self.client.force_login(person("tom"))
        for name in ("update", "delete"):
            with self.subTest(name):
                address = reverse(f"posts:{name}", args=[self.post.pk])
                self.assertEqual(self.client.get(address).status_code, 403)
                self.assertEqual(self.client.post(address).status_code, 403)
        self.assertTrue(Post.objects.filter(pk=self.post.pk).exists())

    def test_a_form_without_its_token_is_forbidden_in_the_callers_language(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(self.post.author)
        page = strict.post("/create/", {"title": "x", "body": "y"})
        self.assertContains(page, "came without its token", status_code=403)
        answer = strict.post(
            reverse("posts:like", args=[self.post.pk]), headers={"Accept": "application/json"}
        )
        self.assertEqual(answer.status_code, 403)
        self.assertIn("error", answer.json())

    def test_a_wrong_method_gets_a_page_that_names_the_right_ones(self) -> None:
        for name in ("like", "comment"):
            page = self.client.get(reverse(f"posts:{name}", args=[self.post.pk]))
            self.assertContains(page, "This address takes POST only", status_code=405)
            self.assertEqual(page["Allow"], "POST")
        self.client.force_login(self.post.author)
        page = self.client.delete("/")
        self.assertContains(page, "Not this way", status_code=405)
        self.assertIn("GET", page["Allow"])
        self.assertEqual(self.client.put("/search/").status_code, 405)

    def test_a_deleted_posts_address_gets_its_page_from_every_view(self) -> None:
        self.client.force_login(self.post.author)
        gone = self.post.pk
        self.client.post(reverse("posts:delete", args=[gone]))
        for name in ("detail", "update", "delete"):
            page = self.client.get(reverse(f"posts:{name}", args=[gone]))
            self.assertContains(page, "nothing at this address", status_code=404)
        for name in ("like", "comment", "update", "delete"):
            address = reverse(f"posts:{name}", args=[gone])
            self.assertEqual(self.client.post(address, {"body": "x"}).status_code, 404)

    def test_a_nul_in_the_address_gets_400(self) -> None:
        for address, status in (
            ("/accounts/%00/", 400),
            ("/tag/x%00y/", 400),
            ("/?before=%00", 404),
            ("/search/?q=%00", 200),
        ):
            with self.subTest(address):
                self.assertEqual(self.client.get(address).status_code, status)

    def test_numbers_beyond_the_databases_get_404(self) -> None:
        huge = "9" * 30
        for address in (f"/post/{huge}/", f"/?before={huge}", f"/archive/{huge}/11/"):
            with self.subTest(address):
                self.assertEqual(self.client.get(address).status_code, 404)

    def test_another_host_gets_400(self) -> None:
        self.assertEqual(self.client.get("/", headers={"Host": "evil.example"}).status_code, 400)

    def test_pages_say_what_they_may_load(self) -> None:
        policy = self.client.get("/")["Content-Security-Policy"]
        self.assertIn("script-src 'self';", policy)
        self.assertNotIn("unsafe-eval", policy)
