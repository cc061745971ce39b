"""The JSON API: posts as a collection and one by one.

Methods, status codes, conditional requests and negotiation follow RFC 9110; PATCH follows RFC 5789
with a merge patch (RFC 7396).
"""

import csv
import json
import re
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date, parse_http_date_safe
from django.views import View

from board.api.representation import BadFields, as_json, form_data
from board.core.negotiate import best_type
from board.core.sheets import harmless
from board.posts.forms import PostForm
from board.posts.models import Post

PAGE_POSTS = 20
PAGE_POSTS_MAX = 100
JSON_TYPES = {"application/json"}
PATCH_TYPES = {"application/json", "application/merge-patch+json"}


class Problem(Exception):
    """An answer that is not the one hoped for."""

    def __init__(self, status: int, error: str, **extra: Any) -> None:
        super().__init__(error)
        self.status, self.body = status, {"error": error, **extra}
        self.headers: dict[str, str] = {}


class ApiView(View):
    """What all addresses of the API have in common."""

    offered = ["application/json"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            if best_type(request, self.offered) is None:
                raise Problem(406, "none of the accepted types is offered", offered=self.offered)
            response = super().dispatch(request, *args, **kwargs)
        except Problem as problem:
            response = JsonResponse(problem.body, status=problem.status, headers=problem.headers)
        except RequestDataTooBig:
            response = JsonResponse({"error": "the body is too large"}, status=413)
        patch_vary_headers(response, ["Accept", "Cookie"])
        return response

    def http_method_not_allowed(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        allowed = self.allowed()
        error = {"error": f"{request.method} is not for this address", "allowed": allowed}
        return JsonResponse(error, status=405, headers={"Allow": ", ".join(allowed)})

    def allowed(self) -> list[str]:
        """The methods that this address has."""
        return [name.upper() for name in self.http_method_names if hasattr(self, name)]

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed())})
        if hasattr(self, "patch"):
            response["Accept-Patch"] = ", ".join(sorted(PATCH_TYPES))
        return response

    def writer(self) -> User:
        """Who asks; 401 for somebody unknown."""
        if not self.request.user.is_authenticated:
            problem = Problem(401, "log in first")
            problem.headers["WWW-Authenticate"] = f'Session login="{reverse("accounts:login")}"'
            raise problem
        return self.request.user

    def json_body(self, types: set[str]) -> Any:
        """The body, parsed; 415 for another type, 400 for something that is no JSON."""
        if self.request.content_type not in types:
            problem = Problem(415, "send one of the accepted types", accepted=sorted(types))
            problem.headers["Accept"] = ", ".join(sorted(types))
            raise problem
        try:
            return json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise Problem(400, "the body is not JSON") from None


class Posts(ApiView):
    """GET a page of posts, POST a new one."""

    offered = ["application/json", "text/csv"]

    def get(self, request: HttpRequest) -> HttpResponse:
        limit = self.number("limit", PAGE_POSTS, PAGE_POSTS_MAX)
        before = self.number("before", 0, 2**62)
        posts = Post.objects.select_related("author").prefetch_related("tags")
        if before:
            posts = posts.filter(pk__lt=before)
        page = [as_json(post) for post in posts[: limit + 1]]
        more, page = len(page) > limit, page[:limit]
        if best_type(request, self.offered) == "text/csv":
            response: HttpResponse = as_csv(page)
        else:
            response = JsonResponse({"posts": page})
        if more:
            following = f"{request.path}?limit={limit}&before={page[-1]['id']}"
            response["Link"] = f'<{following}>; rel="next"'
        return response

    def post(self, request: HttpRequest) -> HttpResponse:
        user = self.writer()
        post = save(Post(author=user), self.json_body(JSON_TYPES), user, whole=True)
        headers = {"Location": reverse("api:post", kwargs={"pk": post.pk}), "ETag": post.etag}
        return JsonResponse(as_json(post), status=201, headers=headers)

    def number(self, name: str, default: int, most: int) -> int:
        """A number of the query string; 400 where it is none."""
        text = self.request.GET.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= most:
            raise Problem(400, f"{name} is a number from 1 to {most}")
        return int(text)


class OnePost(ApiView):
    """GET, PUT, PATCH, DELETE one post."""

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        post = find(pk)
        headers = {"ETag": post.etag, "Last-Modified": http_date(post.updated.timestamp())}
        if unchanged(request, post):
            return HttpResponse(status=304, headers=headers)
        return JsonResponse(as_json(post), headers=headers)

    def put(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self.change(request, pk, JSON_TYPES, whole=True)

    def patch(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self.change(request, pk, PATCH_TYPES, whole=False)

    def delete(self, request: HttpRequest, pk: int) -> HttpResponse:
        user = self.writer()
        with transaction.atomic():
            own(lock(pk, request), user).delete()
        return HttpResponse(status=204)

    def change(self, request: HttpRequest, pk: int, types: set[str], whole: bool) -> HttpResponse:
        """Replaces the post, or a part of it, if the client's `If-Match` still holds."""
        user = self.writer()
        fields = self.json_body(types)
        with transaction.atomic():
            post = own(lock(pk, request), user)
            post.version += 1
            post = save(post, fields, user, whole)
        return JsonResponse(as_json(post), headers={"ETag": post.etag})


def find(pk: int) -> Post:
    """The post; 404 where there is none."""
    try:
        return Post.objects.select_related("author").prefetch_related("tags").get(pk=pk)
    except Post.DoesNotExist:
        raise Problem(404, "no such post") from None


def lock(pk: int, request: HttpRequest) -> Post:
    """The post, locked; 404 where there is none, 412 where it is not what the client has seen."""
    try:
        post = Post.objects.select_for_update(of=["self"]).select_related("author").get(pk=pk)
    except Post.DoesNotExist:
        raise Problem(404, "no such post") from None
    wanted = request.headers.get("If-Match")
    if wanted is not None and wanted.strip() != "*" and post.etag not in split_etags(wanted):
        raise Problem(412, "the post has changed since you read it", version=post.version)
    return post


def own(post: Post, user: User) -> Post:
    """The post, if it is the user's; 403 otherwise."""
    if post.author_id != user.pk and not user.is_staff:
        raise Problem(403, "this is somebody else's post")
    return post


def unchanged(request: HttpRequest, post: Post) -> bool:
    """True where the client has this very state: RFC 9110 section 13.2.2."""
    tags = request.headers.get("If-None-Match")
    if tags is not None:
        weak = [tag.removeprefix("W/") for tag in split_etags(tags)]
        return tags.strip() == "*" or post.etag in weak
    since = parse_http_date_safe(request.headers.get("If-Modified-Since", ""))
    return since is not None and int(post.updated.timestamp()) <= since


def split_etags(text: str) -> list[str]:
    """The entity tags of a header, quotes included."""
    return re.findall(r'(?:W/)?"[^"]*"', text)


def save(post: Post, fields: Any, user: User, whole: bool) -> Post:
    """Puts the fields into the post by way of its form; 422 says what is wrong with them."""
    try:
        data = form_data(fields, post if post.pk else None, whole)
    except BadFields as bad:
        raise Problem(422, "this does not describe a post", fields=bad.problems) from None
    form = PostForm(data, instance=post, user_id=user.pk)
    if not form.is_valid():
        errors = {name: " ".join(map(str, texts)) for name, texts in form.errors.items()}
        raise Problem(422, "this does not describe a post", fields=errors)
    with transaction.atomic():
        saved = form.save()
    saved._prefetched_objects_cache = {}  # type: ignore[attr-defined]
    return saved


def as_csv(page: list[dict[str, Any]]) -> HttpResponse:
    """The page as CSV."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    columns = ["id", "title", "author", "created", "version", "likes", "comments"]
    writer = csv.DictWriter(response, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: harmless(cell) for name, cell in row.items()} for row in page)
    return response
