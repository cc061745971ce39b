"""A post as JSON, and JSON as a post."""

from typing import Any

from board.posts.models import Post

WRITABLE = {"title", "body", "tags", "photo_text"}
REQUIRED = {"title", "body"}


class BadFields(Exception):
    """The JSON does not describe a post; `problems` says why, by field."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(str(problems))
        self.problems = problems


def as_json(post: Post) -> dict[str, Any]:
    """What a client sees of a post."""
    return {
        "id": post.pk,
        "url": f"/api/posts/{post.pk}/",
        "title": post.title,
        "body": post.body,
        "photo_text": post.photo_text,
        "author": post.author.get_username(),
        "tags": [tag.name for tag in post.tags.all()],
        "photo": post.photo.url if post.photo else None,
        "created": post.created.isoformat(),
        "updated": post.updated.isoformat(),
        "version": post.version,
        "likes": post.like_count,
        "comments": post.comment_count,
    }


def form_data(fields: Any, post: Post | None, whole: bool) -> dict[str, Any]:
    """The JSON as data for the post's form: PUT describes the whole post, PATCH a part of it."""
    if not isinstance(fields, dict):
        raise BadFields({"": "a JSON object is expected"})
    problems = {name: "no such field" for name in fields if name not in WRITABLE}
    if whole:
        problems |= dict.fromkeys(REQUIRED - fields.keys(), "missing")
    for name, value in fields.items():
        if name == "tags":
            if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
                problems[name] = "a list of strings is expected"
        elif name in WRITABLE and not isinstance(value, str):
            problems[name] = "a string is expected"
    if problems:
        raise BadFields(problems)
    data = {"title": "", "body": "", "photo_text": "", "tag_names": ""}
    if post is not None and not whole:
        data |= {"title": post.title, "body": post.body, "photo_text": post.photo_text}
        data["tag_names"] = " ".join(tag.name for tag in post.tags.all())
    data |= {name: value for name, value in fields.items() if name != "tags"}
    if "tags" in fields:
        data["tag_names"] = " ".join(fields["tags"])
    return data
