"""The parts that all other applications lean on."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "board.core"
    label = "core"
