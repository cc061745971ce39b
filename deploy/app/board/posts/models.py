"""Posts, their tags and comments, and who likes what."""

from typing import Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import Exists, OuterRef, Value
from django.urls import reverse
from django.utils.text import slugify

TITLE_CHARS_MAX = 120
BODY_CHARS_MAX = 5000
COMMENT_CHARS_MAX = 1000
TAG_CHARS_MAX = 30

SEARCH_VECTOR = SearchVector("title", "body", config="english")


class Tag(models.Model):
    """A word that groups posts."""

    name = models.CharField(max_length=TAG_CHARS_MAX, unique=True)
    slug = models.SlugField(max_length=TAG_CHARS_MAX, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("posts:tag", kwargs={"slug": self.slug})

    @classmethod
    def named(cls, names: list[str]) -> list[Self]:
        """The tags of these names, made where missing; two who make one at once get the same."""
        tags = []
        for name in names:
            slug = slugify(name)
            tags.append(cls.objects.get_or_create(slug=slug, defaults={"name": name})[0])
        return tags


class PostQuerySet(models.QuerySet["Post"]):
    """Ways to fetch posts without a query in a loop."""

    def for_cards(self, user: User | AnonymousUser) -> Self:
        """Everything that a list of cards shows: three queries whatever the number of posts."""
        liked = (
            Exists(Like.objects.filter(post=OuterRef("pk"), user_id=user.pk))
            if user.is_authenticated
            else Value(False)
        )
        return (
            self.select_related("author", "author__profile")
            .prefetch_related("tags")
            .annotate(liked=liked)
        )


class Post(models.Model):
    """Something that somebody wanted the others to see."""

    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="posts"
    )
    title = models.CharField(max_length=TITLE_CHARS_MAX)
    body = models.TextField(max_length=BODY_CHARS_MAX)
    photo = models.ImageField(upload_to="photos/%Y/%m", blank=True)
    thumbnail = models.ImageField(upload_to="thumbnails/%Y/%m", blank=True, editable=False)
    photo_text = models.CharField("description of the photo", max_length=200, blank=True)
    tags = models.ManyToManyField(Tag, related_name="posts", blank=True)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    # Counts one up with each edit: who saves over an edit that they have not seen is told so.
    version = models.PositiveIntegerField(default=1, editable=False)
    # Kept beside the rows they count, by F expressions in the same transaction.
    like_count = models.PositiveIntegerField(default=0, editable=False)
    comment_count = models.PositiveIntegerField(default=0, editable=False)

    objects = PostQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["created"], name="posts_post_created"),
            GinIndex(SEARCH_VECTOR, name="posts_post_search"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("posts:detail", kwargs={"pk": self.pk})

    @property
    def etag(self) -> str:
        """A strong validator: changes with every edit, like and comment."""
        return f'"{self.pk}-{self.version}-{self.like_count}-{self.comment_count}"'


class Comment(models.Model):
    """An answer to a post."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="comments")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="comments"
    )
    body = models.TextField(max_length=COMMENT_CHARS_MAX)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.body[:60]


class Like(models.Model):
    """One person likes one post, at most once."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="likes")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="likes"
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["post", "user"], name="one_like_each")]

    def __str__(self) -> str:
        return f"{self.user_id} likes {self.post_id}"
