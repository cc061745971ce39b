"""The report page, and the visits it counts."""

from django.apps import AppConfig


class InsightsConfig(AppConfig):
    name = "board.insights"
    label = "insights"
