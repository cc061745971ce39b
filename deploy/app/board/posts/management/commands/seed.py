"""Fills the board with people, posts, comments, likes and a month of visits."""

import datetime
import random
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import Count, OuterRef, Subquery
from django.utils import timezone
from django.utils.text import slugify

from board.accounts.models import Profile
from board.insights.models import Visit
from board.posts import photos, pictures
from board.posts.models import Comment, Like, Post, Tag
from board.posts.sample import COMMENTS, PEOPLE, POSTS

VISIT_DAYS = 30
PHOTO_EVERY = 6  # five posts of six have a photo


class Command(BaseCommand):
    """Run twice, it changes nothing the second time."""

    help = "Fills the board with pleasant data; does nothing where the data is already there."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-photos", action="store_true", help="leave the pictures out")

    def handle(self, *args: Any, no_photos: bool = False, **options: Any) -> None:
        if User.objects.filter(username=PEOPLE[0][0]).exists():
            self.stdout.write("The board is filled already.")
            return
        dice = random.Random(7)  # noqa: S311 - the same board for everybody
        files = [] if no_photos else paint()
        with transaction.atomic():
            people = make_people()
            posts = make_posts(people, files, dice)
            make_talk(people, posts, dice)
            make_visits(posts, dice)
            count_everything()
        self.stdout.write(f"{len(people)} people, {len(posts)} posts. Enjoy.")


def paint() -> list[tuple[str, str]]:
    """The storage names of all photos and their thumbnails."""
    names = []
    for number in range(len(POSTS)):
        if number % PHOTO_EVERY == PHOTO_EVERY - 1:
            names.append(("", ""))
            continue
        photo, thumbnail = f"seed/{number}.jpg", f"seed/{number}-small.jpg"
        if not default_storage.exists(thumbnail):
            upload = ContentFile(pictures.landscape(number))
            encoded = photos.encode(upload.open(), upload.size)
            photo = default_storage.save(photo, encoded.photo)
            thumbnail = default_storage.save(thumbnail, encoded.thumbnail)
        names.append((photo, thumbnail))
    return names


def make_people() -> list[User]:
    """Users without a password that works: nobody logs in as them."""
    User.objects.bulk_create(
        [User(username=username, password=make_password(None)) for username, _, _ in PEOPLE]
    )
    people = {
        user.username: user for user in User.objects.filter(username__in=[p[0] for p in PEOPLE])
    }
    Profile.objects.bulk_create(
        [
            Profile(user=people[username], display_name=name, bio=bio)
            for username, name, bio in PEOPLE
        ],
        ignore_conflicts=True,
    )
    return [people[username] for username, _, _ in PEOPLE]


def make_posts(people: list[User], files: list[tuple[str, str]], dice: random.Random) -> list[Post]:
    """The posts, oldest first, the newest an hour or so old."""
    words = sorted({word for _, _, tags in POSTS for word in tags.split()})
    Tag.objects.bulk_create(
        [Tag(name=word, slug=slugify(word)) for word in words], ignore_conflicts=True
    )
    tags = Tag.objects.in_bulk(words, field_name="slug")
    posts = [
        Post(author=dice.choice(people), title=title, body=body, photo_text=title)
        for title, body, _ in POSTS
    ]
    for post, (photo, thumbnail) in zip(posts, files, strict=False):
        post.photo.name, post.thumbnail.name = photo, thumbnail
    posts.reverse()
    Post.objects.bulk_create(posts)
    now = timezone.now()
    for age, post in enumerate(reversed(posts)):
        post.created = now - datetime.timedelta(hours=1 + age * 21, minutes=dice.randint(0, 59))
        post.updated = post.created
    Post.objects.bulk_update(posts, ["created", "updated"], batch_size=100)
    through = Post.tags.through
    titles = {title: words.split() for title, _, words in POSTS}
    through.objects.bulk_create(
        [
            through(post_id=post.pk, tag_id=tags[word].pk)
            for post in posts
            for word in titles[post.title]
        ]
    )
    return posts


def make_talk(people: list[User], posts: list[Post], dice: random.Random) -> None:
    """Comments and likes."""
    comments = [
        Comment(post=post, author=dice.choice(people), body=body)
        for post in posts
        for body in dice.sample(COMMENTS, dice.randint(0, 6))
    ]
    Comment.objects.bulk_create(comments, batch_size=500)
    for comment in comments:
        comment.created = comment.post.created + datetime.timedelta(minutes=dice.randint(5, 59))
    Comment.objects.bulk_update(comments, ["created"], batch_size=500)
    Like.objects.bulk_create(
        [
            Like(post=post, user=person)
            for post in posts
            for person in dice.sample(people, dice.randint(0, len(people)))
        ],
        batch_size=500,
    )


def make_visits(posts: list[Post], dice: random.Random) -> None:
    """A month of visits, more at the week's end, more for new posts."""
    today = timezone.localdate()
    rows = []
    for back in range(VISIT_DAYS):
        day = today - datetime.timedelta(days=back)
        busy = 1.6 if day.weekday() >= 5 else 1.0
        for post in posts:
            age = (day - post.created.date()).days
            if age >= 0:
                hits = int(busy * dice.randint(2, 40) / (1 + age / 5))
                if hits:
                    rows.append(Visit(day=day, post=post, count=hits))
    Visit.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)


def count_everything() -> None:
    """Sets the counts beside the rows they count, in one statement each."""
    likes = Like.objects.filter(post=OuterRef("pk")).order_by().values("post")
    Post.objects.filter(likes__isnull=False).update(
        like_count=Subquery(likes.annotate(number=Count("pk")).values("number"))
    )
    comments = Comment.objects.filter(post=OuterRef("pk")).order_by().values("post")
    Post.objects.filter(comments__isnull=False).update(
        comment_count=Subquery(comments.annotate(number=Count("pk")).values("number"))
    )
