"""The seed."""

import io

from django.core.management import call_command
from django.test import TestCase

from board.insights.models import Visit
from board.posts.models import Comment, Like, Post
from board.posts.sample import PEOPLE, POSTS


class Seed(TestCase):
    def test_it_fills_the_board_once_and_its_counts_are_true(self) -> None:
        out = io.StringIO()
        call_command("seed", "--no-photos", stdout=out)
        call_command("seed", "--no-photos", stdout=out)
        self.assertIn(f"{len(PEOPLE)} people, {len(POSTS)} posts", out.getvalue())
        self.assertIn("filled already", out.getvalue())
        self.assertEqual(Post.objects.count(), len(POSTS))
        self.assertTrue(Visit.objects.exists())
        for post in Post.objects.all():
            self.assertEqual(post.like_count, Like.objects.filter(post=post).count())
            self.assertEqual(post.comment_count, Comment.objects.filter(post=post).count())
        self.assertEqual(Post.objects.all()[0].title, POSTS[0][0])

    def test_the_seeded_board_is_walked_through_without_an_error(self) -> None:
        call_command("seed", stdout=io.StringIO())
        post = Post.objects.all()[0]
        self.assertTrue(post.photo.storage.exists(str(post.photo.name)))
        for address in ("/", post.get_absolute_url(), "/insights/", "/accounts/ada/", "/learn/"):
            with self.subTest(address):
                self.assertEqual(self.client.get(address).status_code, 200)
