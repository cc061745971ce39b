"""A mark to write and to read back."""

from django.db import models


class Mark(models.Model):
    """A number that the freshness experiment and the peak write, and read elsewhere at once."""

    name = models.CharField(max_length=40, unique=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"
