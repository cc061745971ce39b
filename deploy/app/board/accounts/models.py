"""A person's profile, beside Django's own user."""

from django.conf import settings
from django.db import models
from django.urls import reverse

TONES = 8


class Profile(models.Model):
    """What a person says about themselves; made together with the user."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="profile"
    )
    display_name = models.CharField(max_length=60, blank=True)
    bio = models.TextField(max_length=500, blank=True)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("accounts:profile", kwargs={"username": self.user.get_username()})

    @property
    def name(self) -> str:
        """The name to show: the chosen one, or the login name."""
        return self.display_name or self.user.get_username()

    @property
    def initials(self) -> str:
        """One or two letters for the round badge."""
        words = self.name.replace("-", " ").split()
        return "".join(word[0] for word in words[:2]).upper()

    @property
    def tone(self) -> int:
        """The badge's colour, one of TONES, the same on every instance."""
        return sum(ord(letter) for letter in self.user.get_username()) % TONES
