"""A profile for every new user, however the user was made."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver

from board.accounts.models import Profile


@receiver(post_save, sender=get_user_model())
def make_profile(instance: User, created: bool, raw: bool, **kwargs: Any) -> None:
    """Runs in the transaction that saved the user, if there is one."""
    if created and not raw:
        Profile.objects.get_or_create(user=instance)
