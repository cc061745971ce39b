"""Seeing where each statement went, and the demo's control room."""

from django.apps import AppConfig


class WeirConfig(AppConfig):
    name = "board.weir"
    label = "weir"

    def ready(self) -> None:
        from board.weir import trace

        trace.listen()
