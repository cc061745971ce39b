"""A counter for the race of two editors."""

from django.db import models


class Counter(models.Model):
    """A number that several editors count up at once; the version guards one of the ways."""

    name = models.CharField(max_length=40, unique=True)
    value = models.IntegerField(default=0)
    version = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"
