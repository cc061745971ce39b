"""The board itself: posts with photos, comments, tags and likes."""

from django.apps import AppConfig


class PostsConfig(AppConfig):
    name = "board.posts"
    label = "posts"
