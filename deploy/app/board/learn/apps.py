"""Pages for learners: the request as the server saw it, and the race of two editors."""

from django.apps import AppConfig


class LearnConfig(AppConfig):
    name = "board.learn"
    label = "learn"
