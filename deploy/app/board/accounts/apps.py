"""Who people are: profiles beside Django's users."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "board.accounts"
    label = "accounts"

    def ready(self) -> None:
        from board.accounts import signals  # noqa: F401
