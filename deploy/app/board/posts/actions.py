"""What people do to posts: each a transaction that keeps rows and counts together."""

from django.db import transaction
from django.db.models import F

from board.posts.models import Comment, Like, Post


class EditConflict(Exception):
    """Somebody else saved the post after its editor had opened it."""

    def __init__(self, current: Post) -> None:
        super().__init__(f"post {current.pk} is at version {current.version}")
        self.current = current


def toggle_like(post_id: int, user_id: int) -> tuple[bool, int]:
    """Likes, or likes no more; returns whether it is liked now, and by how many.

    The post's row is locked first, so that two clicks of one person on two instances
    cannot both see "not liked yet".
    """
    with transaction.atomic():
        post = Post.objects.select_for_update().only("id").get(pk=post_id)
        like, created = Like.objects.get_or_create(post=post, user_id=user_id)
        if not created:
            like.delete()
        step = 1 if created else -1
        Post.objects.filter(pk=post_id).update(like_count=F("like_count") + step)
        post.refresh_from_db(fields=["like_count"])
    return created, post.like_count


def add_comment(comment: Comment) -> None:
    """Saves the comment and counts it."""
    with transaction.atomic():
        comment.save()
        Post.objects.filter(pk=comment.post_id).update(comment_count=F("comment_count") + 1)


def remove_comment(comment: Comment) -> None:
    """Deletes the comment and counts it no more."""
    with transaction.atomic():
        deleted, _ = Comment.objects.filter(pk=comment.pk).delete()
        if deleted:
            Post.objects.filter(pk=comment.post_id).update(comment_count=F("comment_count") - 1)


def lock_for_edit(post_id: int, seen_version: int | None) -> Post:
    """The post's newest state, locked until the transaction ends.

    Raises EditConflict where it is not the state that the editor has seen. Call it inside a
    transaction; whoever comes second waits here, then finds the version changed.
    """
    post = Post.objects.select_for_update().get(pk=post_id)
    if seen_version is not None and post.version != seen_version:
        raise EditConflict(post)
    return post
