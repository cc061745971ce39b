"""What the tests of several applications share."""

import io

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from board.posts.models import Post, Tag

PASSWORD = "weir-and-water-7"  # noqa: S105


def person(name: str = "rosa") -> User:
    """Somebody with a profile and a password that works."""
    return User.objects.create_user(name, password=PASSWORD)


def post_by(author: User, title: str = "Mist", body: str = "On the river.", tags: str = "") -> Post:
    """A post with tags."""
    post = Post.objects.create(author=author, title=title, body=body)
    post.tags.set(Tag.named(tags.split()))
    return post


def photo(
    size: tuple[int, int] = (80, 60), kind: str = "PNG", name: str = "p.png"
) -> SimpleUploadedFile:
    """An upload that is a real picture."""
    out = io.BytesIO()
    Image.new("RGB", size, (15, 118, 110)).save(out, kind)
    return SimpleUploadedFile(name, out.getvalue(), f"image/{kind.lower()}")
