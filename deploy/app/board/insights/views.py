"""The report: what the board has been doing, from aggregates alone."""

import csv
import datetime
from collections.abc import Iterator
from typing import Any

from django.db.models import Avg, Count, F, Max, Sum, Window
from django.db.models.functions import Rank, TruncDate
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from board.core.sheets import harmless
from board.insights.models import Visit, count_visit
from board.posts.models import Post, Tag

REPORT_DAYS = 30
TOP = 6
EXPORT_CHUNK_ROWS = 500


@require_safe
def report(request: HttpRequest) -> HttpResponse:
    """Figures, visits by day, and what is liked best: a handful of aggregate queries."""
    since = timezone.localdate() - datetime.timedelta(days=REPORT_DAYS - 1)
    visits = Visit.objects.filter(day__gte=since)
    by_day = dict(visits.values_list("day").annotate(total=Sum("count")))
    days = [since + datetime.timedelta(days=n) for n in range(REPORT_DAYS)]
    highest = max(by_day.values(), default=0) or 1
    columns = [
        {"day": day, "count": by_day.get(day, 0), "percent": 100 * by_day.get(day, 0) // highest}
        for day in days
    ]
    context = {
        "columns": columns,
        "visits_total": sum(by_day.values()),
        "totals": totals(),
        "tags": with_percent(top_tags(), "uses"),
        "posts": with_percent(top_posts(since), "total"),
        "people": with_percent(top_people(), "likes"),
        "days": REPORT_DAYS,
    }
    return render(request, "insights/report.html", context)


def totals() -> dict[str, Any]:
    """The whole board in one row."""
    figures = Post.objects.aggregate(
        posts=Count("id"),
        authors=Count("author", distinct=True),
        likes=Sum("like_count"),
        comments=Sum("comment_count"),
        likes_mean=Avg("like_count"),
        newest=Max("created"),
    )
    return dict(figures)


def top_tags() -> list[dict[str, Any]]:
    """The tags most used."""
    tags = Tag.objects.annotate(uses=Count("posts")).order_by("-uses", "name")[:TOP]
    return [
        {"label": f"#{tag.name}", "url": tag.get_absolute_url(), "uses": tag.uses} for tag in tags
    ]


def top_posts(since: datetime.date) -> list[dict[str, Any]]:
    """The posts most visited, with their rank by a window function."""
    rows = (
        Visit.objects.filter(day__gte=since)
        .values("post_id", title=F("post__title"))
        .annotate(total=Sum("count"))
        .annotate(rank=Window(Rank(), order_by=F("total").desc()))
        .order_by("rank", "post_id")[:TOP]
    )
    return [
        {
            "label": row["title"],
            "url": reverse("posts:detail", args=[row["post_id"]]),
            "total": row["total"],
        }
        for row in rows
    ]


def top_people() -> list[dict[str, Any]]:
    """Whose posts are liked most."""
    rows = (
        Post.objects.values(username=F("author__username"), name=F("author__profile__display_name"))
        .annotate(liked_total=Sum("like_count"))
        .order_by("-liked_total", "username")[:TOP]
        .values_list("username", "name", "liked_total")
    )
    return [
        {
            "label": name or username,
            "url": reverse("accounts:profile", args=[username]),
            "likes": likes,
        }
        for username, name, likes in rows
    ]


def with_percent(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Adds to each row its value and its share of the largest."""
    highest = max((row[key] for row in rows), default=0) or 1
    return [{**row, "value": row[key], "percent": 100 * row[key] // highest} for row in rows]


class Line:
    """A file for `csv.writer` that hands each line back instead of keeping it."""

    def write(self, text: str) -> str:
        return text


@require_safe
def export(request: HttpRequest) -> StreamingHttpResponse:
    """All posts as CSV, streamed through a server-side cursor: constant memory for any number."""
    posts = (
        Post.objects.annotate(day=TruncDate("created"), visits_total=Sum("visits__count"))
        .order_by("id")
        .values_list(
            "id", "day", "author__username", "title", "like_count", "comment_count", "visits_total"
        )
    )

    def lines() -> Iterator[str]:
        writer: Any = csv.writer(Line())
        yield writer.writerow(["id", "day", "author", "title", "likes", "comments", "visits"])
        for row in posts.iterator(chunk_size=EXPORT_CHUNK_ROWS):
            yield writer.writerow([harmless(cell) for cell in row])

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="posts.csv"'
    return response


@require_POST
def visit(request: HttpRequest, pk: int) -> HttpResponse:
    """Counts a visit. The page does it by a call of its own: GET stays safe, the read a read."""
    count_visit(get_object_or_404(Post.objects.only("id"), pk=pk), timezone.localdate())
    return HttpResponse(status=204)
