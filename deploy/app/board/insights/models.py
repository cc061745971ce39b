"""Visits, counted by day and post."""

import datetime

from django.db import models
from django.db.models import F

from board.posts.models import Post


class Visit(models.Model):
    """How often a post was opened on a day.

    The report reads this table; a rule of pgweir sends its reads to the nodes of the group
    `analytics`. The model does not know.
    """

    day = models.DateField()
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="visits")
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "post"], name="one_row_a_day")]

    def __str__(self) -> str:
        return f"{self.day}: post {self.post_id}, {self.count} visits"


def count_visit(post: Post, day: datetime.date) -> None:
    """One visit more, whoever else counts at the same time."""
    visit, _ = Visit.objects.get_or_create(post=post, day=day)
    Visit.objects.filter(pk=visit.pk).update(count=F("count") + 1)
