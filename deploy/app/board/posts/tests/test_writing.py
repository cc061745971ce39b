"""Writing, editing, deleting, commenting and liking."""

import io
import threading
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, TestCase, TransactionTestCase, override_settings
from django.urls import reverse
from PIL import Image

from board.core.testing import person, photo, post_by
from board.posts import actions
from board.posts.models import BODY_CHARS_MAX, TITLE_CHARS_MAX, Comment, Like, Post


class Create(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        self.client.force_login(self.rosa)

    def send(self, **fields: Any) -> Any:
        return self.client.post("/create/", {"title": "Mist", "body": "At the mill.", **fields})

    def test_a_post_is_written_then_shown_after_a_redirect(self) -> None:
        response = self.send(tag_names="River, mill  #river")
        post = Post.objects.get()
        self.assertRedirects(response, post.get_absolute_url())
        self.assertEqual(post.author, self.rosa)
        self.assertEqual([tag.name for tag in post.tags.all()], ["mill", "river"])

    def test_a_photo_is_encoded_anew_without_its_metadata(self) -> None:
        picture = Image.new("RGB", (3000, 1000), (200, 30, 30))
        exif = Image.Exif()
        exif[0x010E] = "taken at home"
        out = io.BytesIO()
        picture.save(out, "JPEG", exif=exif)
        self.send(photo=SimpleUploadedFile("my house.jpg", out.getvalue(), "image/jpeg"))
        post = Post.objects.get()
        stored = Image.open(post.photo)
        self.assertEqual(stored.size, (1600, 533))
        self.assertFalse(stored.getexif())
        self.assertNotIn("house", str(post.photo.name))
        self.assertEqual(Image.open(post.thumbnail).size, (640, 420))

    def test_a_photo_lying_on_its_side_is_put_upright(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        out = io.BytesIO()
        Image.new("RGB", (200, 100)).save(out, "JPEG", exif=exif)
        self.send(photo=SimpleUploadedFile("p.jpg", out.getvalue(), "image/jpeg"))
        self.assertEqual(Image.open(Post.objects.get().photo).size, (100, 200))

    def test_what_is_no_photo_is_refused_whatever_it_calls_itself(self) -> None:
        real = photo().read()
        for name, content in {
            "page.jpg": b"<html><script>alert(1)</script>",
            "half.png": real[: len(real) // 2],
            "vector.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
            "film.gif": b"GIF89a" + bytes(60),
        }.items():
            with self.subTest(name):
                response = self.send(photo=SimpleUploadedFile(name, content, "image/jpeg"))
                self.assertContains(response, "not a JPEG, PNG or WebP", status_code=422)
        self.assertFalse(Post.objects.exists())

    def test_a_photo_with_too_many_pixels_is_refused_before_it_is_unpacked(self) -> None:
        with override_settings(BOARD_PHOTO_PIXELS_MAX=1000):
            response = self.send(photo=photo((80, 60)))
        self.assertContains(response, "too many pixels", status_code=422)

    def test_a_photo_over_the_limit_is_refused(self) -> None:
        with override_settings(BOARD_PHOTO_BYTES_MAX=50):
            self.assertContains(self.send(photo=photo()), "larger than", status_code=422)

    def test_a_body_over_the_limit_gets_413_before_it_is_parsed(self) -> None:
        huge = SimpleUploadedFile("p.png", bytes(settings.BOARD_REQUEST_BYTES_MAX + 1), "image/png")
        response = self.send(photo=huge)
        self.assertContains(response, "too large", status_code=413)

    def test_overlong_and_missing_fields_come_back_with_their_messages(self) -> None:
        for fields, text in (
            ({"title": "x" * (TITLE_CHARS_MAX + 1)}, "at most 120 characters"),
            ({"body": "x" * (BODY_CHARS_MAX + 1)}, "at most 5000 characters"),
            ({"title": " "}, "This field is required"),
            ({"tag_names": "a b c d e f"}, "At most 5 tags"),
            ({"tag_names": "!!!"}, "cannot be a tag"),
            ({"tag_names": "x" * 31}, "cannot be a tag"),
            ({"title": "nul \0 byte"}, "Null characters are not allowed"),
        ):
            with self.subTest(text):
                self.assertContains(self.send(**fields), text, status_code=422)
        self.assertFalse(Post.objects.exists())

    def test_an_upload_token_of_nobody_is_refused(self) -> None:
        self.assertContains(self.send(upload_token="forged"), "not known here", status_code=422)

    def test_without_a_bucket_there_is_no_leave_to_upload(self) -> None:
        response = self.client.post("/upload-grant/", {"content_type": "image/png"})
        self.assertEqual(response.status_code, 404)


class Update(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        self.post = post_by(self.rosa, tags="river")
        self.address = reverse("posts:update", args=[self.post.pk])
        self.client.force_login(self.rosa)

    def test_an_edit_counts_the_version_up(self) -> None:
        fields = {"title": "Fog", "body": "Thicker", "tag_names": "fog", "seen_version": "1"}
        self.assertRedirects(self.client.post(self.address, fields), self.post.get_absolute_url())
        self.post.refresh_from_db()
        self.assertEqual((self.post.title, self.post.version), ("Fog", 2))
        self.assertEqual([tag.name for tag in self.post.tags.all()], ["fog"])

    def test_an_edit_keeps_the_photo_and_the_counts(self) -> None:
        self.client.post(
            self.address, {"title": "a", "body": "b", "photo": photo(), "seen_version": "1"}
        )
        actions.toggle_like(self.post.pk, self.rosa.pk)
        kept = Post.objects.get().photo.name
        self.client.post(self.address, {"title": "c", "body": "d", "seen_version": "2"})
        post = Post.objects.get()
        self.assertEqual((post.title, post.photo.name, post.like_count), ("c", kept, 1))

    def test_a_photo_can_be_taken_away(self) -> None:
        self.client.post(
            self.address, {"title": "a", "body": "b", "photo": photo(), "seen_version": "1"}
        )
        fields = {"title": "a", "body": "b", "photo-clear": "on", "seen_version": "2"}
        self.client.post(self.address, fields)
        self.assertFalse(Post.objects.get().photo)

    def test_saving_over_an_unseen_edit_is_a_conflict_that_loses_nothing(self) -> None:
        first = {"title": "First", "body": "of two", "seen_version": "1"}
        second = {"title": "Second", "body": "of two", "seen_version": "1"}
        self.client.post(self.address, first)
        response = self.client.post(self.address, second)
        self.assertContains(response, "Somebody was quicker", status_code=409)
        self.assertContains(response, "<strong>First</strong>", status_code=409)
        self.assertContains(response, 'value="Second"', status_code=409)
        self.assertContains(response, 'name="seen_version" value="2"', status_code=409)
        self.assertEqual(Post.objects.get().title, "First")
        self.client.post(self.address, {**second, "seen_version": "2"})
        self.assertEqual(Post.objects.get().title, "Second")


class Delete(TestCase):
    def test_a_post_goes_with_everything_that_hangs_on_it(self) -> None:
        rosa = person()
        post = post_by(rosa, tags="river")
        actions.toggle_like(post.pk, rosa.pk)
        Comment.objects.create(post=post, author=rosa, body="mine")
        self.client.force_login(rosa)
        address = reverse("posts:delete", args=[post.pk])
        self.assertContains(self.client.get(address), "There is no way back")
        self.assertRedirects(self.client.post(address), "/")
        self.assertFalse(Post.objects.exists() or Like.objects.exists() or Comment.objects.exists())
        self.assertEqual(self.client.post(address).status_code, 404)


class Talk(TestCase):
    def setUp(self) -> None:
        self.rosa = person()
        self.post = post_by(self.rosa)
        self.client.force_login(self.rosa)

    def test_a_comment_is_added_counted_and_taken_back(self) -> None:
        self.client.post(reverse("posts:comment", args=[self.post.pk]), {"body": "Lovely!"})
        comment = Comment.objects.get()
        self.post.refresh_from_db()
        self.assertEqual(self.post.comment_count, 1)
        self.client.post(reverse("posts:delete-comment", args=[comment.pk]))
        self.post.refresh_from_db()
        self.assertEqual(self.post.comment_count, 0)

    def test_a_bad_comment_comes_back_beside_the_post(self) -> None:
        address = reverse("posts:comment", args=[self.post.pk])
        for body in ("", "x" * 1001):
            response = self.client.post(address, {"body": body})
            self.assertContains(response, self.post.title, status_code=422)
        self.assertFalse(Comment.objects.exists())

    def test_nobody_deletes_somebody_elses_comment(self) -> None:
        comment = Comment.objects.create(post=self.post, author=person("tom"), body="Mine")
        response = self.client.post(reverse("posts:delete-comment", args=[comment.pk]))
        self.assertEqual(response.status_code, 404)
        self.assertTrue(Comment.objects.exists())

    def test_a_like_toggles_with_and_without_scripts(self) -> None:
        address = reverse("posts:like", args=[self.post.pk])
        script = {"X-Requested-With": "XMLHttpRequest"}
        self.assertEqual(
            self.client.post(address, headers=script).json(), {"liked": True, "count": 1}
        )
        self.assertRedirects(self.client.post(address), self.post.get_absolute_url())
        self.post.refresh_from_db()
        self.assertEqual(self.post.like_count, 0)

    def test_liking_wants_post_and_a_post_that_is_there(self) -> None:
        address = reverse("posts:like", args=[self.post.pk])
        self.assertEqual(self.client.get(address).status_code, 405)
        self.post.delete()
        self.assertEqual(self.client.post(address).status_code, 404)


class TwoInstances(TransactionTestCase):
    """Threads with connections of their own, as two instances have."""

    def at_once(self, *steps: Any) -> None:
        failures: list[BaseException] = []
        start = threading.Barrier(len(steps))

        def run(step: Any) -> None:
            try:
                start.wait(10)
                step()
            except BaseException as failure:
                failures.append(failure)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=[step]) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def test_two_savers_of_one_state_are_one_success_and_one_conflict(self) -> None:
        rosa = person()
        post = post_by(rosa)
        address = reverse("posts:update", args=[post.pk])
        statuses: list[int] = []

        def save(title: str) -> None:
            browser = Client()
            browser.force_login(rosa)
            fields = {"title": title, "body": "b", "seen_version": "1"}
            statuses.append(browser.post(address, fields).status_code)

        self.at_once(lambda: save("One"), lambda: save("Two"))
        self.assertEqual(sorted(statuses), [302, 409])
        self.assertEqual(Post.objects.get().version, 2)

    def test_many_likes_at_once_are_all_counted(self) -> None:
        people = [person(f"p{number}") for number in range(6)]
        post = post_by(people[0])
        self.at_once(*(lambda p=p: actions.toggle_like(post.pk, p.pk) for p in people))
        post.refresh_from_db()
        self.assertEqual((post.like_count, Like.objects.count()), (6, 6))

    def test_clicking_twice_at_once_ends_where_it_began(self) -> None:
        rosa = person()
        post = post_by(rosa)
        self.at_once(*(lambda: actions.toggle_like(post.pk, rosa.pk) for _ in range(4)))
        post.refresh_from_db()
        self.assertEqual((post.like_count, Like.objects.count()), (0, 0))
