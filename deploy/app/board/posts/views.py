"""The board's pages: the list and its endless scroll, one post, writing, editing, liking."""

import re
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.contrib.postgres.search import SearchQuery, SearchRank
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe
from django.views.generic import CreateView, DeleteView, DetailView, ListView, UpdateView

from board.core.negotiate import is_script
from board.core.views import AuthorOnly, RefusesPolitely
from board.posts import actions, photos, uploads
from board.posts.forms import CommentForm, PostForm
from board.posts.models import SEARCH_VECTOR, Comment, Post, Tag

PAGE_POSTS = 12
SEARCH_POSTS_MAX = 30
SEARCH_CHARS_MAX = 100


class PostList(ListView[Post]):
    """The newest posts. `?before=<id>` is the next page: keys do not shift while people post."""

    template_name = "posts/list.html"
    context_object_name = "posts"

    def get_queryset(self) -> QuerySet[Post]:
        posts = Post.objects.for_cards(self.request.user)
        before = self.request.GET.get("before", "")
        if before:
            if not re.fullmatch(r"\d{1,18}", before):
                raise Http404("before is not a post's number")
            posts = posts.filter(pk__lt=int(before))
        return self.narrow(posts)

    def narrow(self, posts: QuerySet[Post]) -> QuerySet[Post]:
        """What a list shows of all posts."""
        return posts

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        assert self.object_list is not None
        page = list(self.object_list[: PAGE_POSTS + 1])
        more = len(page) > PAGE_POSTS
        page = page[:PAGE_POSTS]
        context = super().get_context_data(object_list=page, **kwargs)
        context["next_before"] = page[-1].pk if more else None
        return context

    def get_template_names(self) -> list[str]:
        return ["posts/cards.html"] if is_script(self.request) else ["posts/list.html"]


class TagList(PostList):
    """The posts of one tag."""

    def narrow(self, posts: QuerySet[Post]) -> QuerySet[Post]:
        self.tag = get_object_or_404(Tag, slug=self.kwargs["slug"])
        return posts.filter(tags=self.tag)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(heading=f"#{self.tag}", **kwargs)


class MonthList(PostList):
    """The posts of one month: year and month are named groups of the address."""

    def narrow(self, posts: QuerySet[Post]) -> QuerySet[Post]:
        year, month = int(self.kwargs["year"]), int(self.kwargs["month"])
        return posts.filter(created__year=year, created__month=month)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        heading = f"{self.kwargs['year']}-{self.kwargs['month']}"
        return super().get_context_data(heading=heading, **kwargs)


@method_decorator(ensure_csrf_cookie, "dispatch")  # a script counts the visit with it
class PostDetail(DetailView[Post]):
    """One post with its comments."""

    template_name = "posts/detail.html"

    def get_queryset(self) -> QuerySet[Post]:
        return Post.objects.for_cards(self.request.user)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        comments = self.object.comments.select_related("author", "author__profile")
        kwargs.setdefault("form", CommentForm())
        return super().get_context_data(comments=comments, **kwargs)


class PostCreate(LoginRequiredMixin, RefusesPolitely, CreateView[Post, PostForm]):
    """Writing a post."""

    form_class = PostForm
    template_name = "posts/form.html"

    def get_form_kwargs(self) -> dict[str, Any]:
        return {
            **super().get_form_kwargs(),
            "user_id": self.request.user.pk,
            "instance": Post(author=member(self.request)),
        }

    def form_valid(self, form: PostForm) -> HttpResponse:
        with transaction.atomic():
            self.object = form.save()
        messages.success(self.request, "Your post is up.")
        return redirect(self.object)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(direct_upload=settings.BOARD_S3, **kwargs)


class PostUpdate(LoginRequiredMixin, AuthorOnly, RefusesPolitely, UpdateView[Post, PostForm]):
    """Editing a post, with two guards against a lost update.

    The row lock makes the second of two savers wait for the first; the version number then tells
    that the first has been there. 409 shows both texts and lets the second decide.
    """

    model = Post
    form_class = PostForm
    template_name = "posts/form.html"

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "user_id": self.request.user.pk}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(direct_upload=settings.BOARD_S3, **kwargs)

    def form_valid(self, form: PostForm) -> HttpResponse:
        try:
            with transaction.atomic():
                seen = form.cleaned_data["seen_version"]
                current = actions.lock_for_edit(form.instance.pk, seen)
                form.instance.version = current.version + 1
                form.instance.like_count = current.like_count
                form.instance.comment_count = current.comment_count
                self.object = form.save()
        except Post.DoesNotExist:
            raise Http404("deleted meanwhile") from None
        except actions.EditConflict as conflict:
            # The next save is meant to go over the version that is shown now.
            form.data = {**self.request.POST.dict(), "seen_version": str(conflict.current.version)}
            context = self.get_context_data(form=form, conflict=conflict.current)
            return self.render_to_response(context, status=409)
        messages.success(self.request, "Your changes are saved.")
        return redirect(self.object)


class PostDelete(LoginRequiredMixin, AuthorOnly, DeleteView[Post, Any]):
    """Deleting a post, with everything that hangs on it."""

    model = Post
    template_name = "posts/delete.html"
    success_url = reverse_lazy("posts:list")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, f"“{self.object.title}” is gone.")
        return super().form_valid(form)


@require_POST
@login_required
def like(request: HttpRequest, pk: int) -> HttpResponse:
    """Toggles a like: JSON for `fetch`, a redirect for a browser without scripts."""
    assert request.user.pk is not None
    try:
        liked, count = actions.toggle_like(pk, request.user.pk)
    except Post.DoesNotExist:
        if is_script(request):
            return JsonResponse({"error": "no such post"}, status=404)
        raise Http404("no such post") from None
    if is_script(request):
        return JsonResponse({"liked": liked, "count": count})
    return redirect("posts:detail", pk=pk)


@require_POST
@login_required
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    """Adds a comment; a wrong one comes back with its message, beside the post."""
    post = get_object_or_404(Post.objects.for_cards(request.user), pk=pk)
    form = CommentForm(request.POST, instance=Comment(post=post, author=member(request)))
    if form.is_valid():
        actions.add_comment(form.instance)
        messages.success(request, "Thank you for your comment.")
        return redirect(f"{post.get_absolute_url()}#comment-{form.instance.pk}")
    comments = post.comments.select_related("author", "author__profile")
    context = {"post": post, "object": post, "form": form, "comments": comments}
    return render(request, "posts/detail.html", context, status=422)


@require_POST
@login_required
def delete_comment(request: HttpRequest, pk: int) -> HttpResponse:
    """Deletes one's own comment."""
    doomed = get_object_or_404(Comment, pk=pk, author_id=request.user.pk)
    actions.remove_comment(doomed)
    messages.success(request, "Your comment is gone.")
    return redirect("posts:detail", pk=doomed.post_id)


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Full-text search, also while typing: `$.ajax` asks for the cards alone."""
    text = request.GET.get("q", "")[:SEARCH_CHARS_MAX].replace("\0", "").strip()
    posts = find_posts(text, request) if text else Post.objects.none()
    template = "posts/cards.html" if is_script(request) else "posts/search.html"
    return render(request, template, {"posts": posts, "q": text, "searched": bool(text)})


def member(request: HttpRequest) -> User:
    """The user, in a view that only members reach."""
    assert isinstance(request.user, User)
    return request.user


def find_posts(text: str, request: HttpRequest) -> QuerySet[Post]:
    """Posts whose words begin with the words of `text`, best first; a tag counts as well."""
    words = re.findall(r"\w+", text.lower())
    if not words:
        return Post.objects.none()
    query = SearchQuery(
        " & ".join(f"{word}:*" for word in words), config="english", search_type="raw"
    )
    return (
        Post.objects.for_cards(request.user)
        .alias(vector=SEARCH_VECTOR, rank=SearchRank(SEARCH_VECTOR, query))
        .filter(
            Q(vector=query)
            | Q(pk__in=Post.tags.through.objects.filter(tag__slug__in=words).values("post_id"))
        )
        .order_by(F("rank").desc(), "-id")[:SEARCH_POSTS_MAX]
    )


@require_POST
@login_required
def upload_grant(request: HttpRequest) -> HttpResponse:
    """Leave for one upload straight to the bucket; 404 where photos live on local disk."""
    if not settings.BOARD_S3:
        return JsonResponse({"error": "photos are sent with the form here"}, status=404)
    content_type = request.POST.get("content_type", "")
    if content_type not in photos.CONTENT_TYPES:
        return JsonResponse({"error": "JPEG, PNG or WebP, please"}, status=415)
    assert request.user.pk is not None
    return JsonResponse(uploads.grant(request.user.pk, content_type))
