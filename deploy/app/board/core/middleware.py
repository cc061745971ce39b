"""Middleware that guards every request before the application sees it."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from board.core.negotiate import wants_json

GetResponse = Callable[[HttpRequest], HttpResponse]

# What an over-sized body may still be read and thrown away for, so that a browser
# that is busy sending gets to read the answer instead of a reset connection.
SWALLOWED_BYTES_MAX = 32 * 1024 * 1024
SWALLOW_CHUNK_BYTES = 64 * 1024


class ContentSecurityPolicy:
    """Says which scripts, styles and images a page may load: its own, and the bucket's."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        media = " ".join(settings.BOARD_MEDIA_ORIGINS)
        upload = " ".join(settings.BOARD_UPLOAD_ORIGINS)
        own = f"'self' {media}".strip()
        self.policy = "; ".join(
            [
                "default-src 'none'",
                f"script-src {own}",
                f"style-src {own} 'unsafe-inline'",  # Django's admin sets inline styles
                f"img-src {own} data: blob:",
                f"font-src {own}",
                f"connect-src 'self' {upload}".strip(),
                "manifest-src 'self'",
                "form-action 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            ]
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", self.policy)
        return response


class HeadWithoutBody:
    """Answers HEAD with the headers of GET, its length included, and no body (RFC 9110 9.3.2)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.method == "HEAD" and not response.streaming:
            length = len(response.content)
            response.content = b""
            response["Content-Length"] = str(length)
        return response


class ProperRefusals:
    """Gives a person a page where Django's answer to a wrong method is an empty one, and refuses
    addresses with a NUL character, which no text of PostgreSQL's can hold.

    https://www.postgresql.org/docs/current/datatype-character.html
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info:
            raise BadRequest("NUL in the address")
        response = self.get_response(request)
        if response.status_code != 405 or response.streaming or response.content:
            return response
        if wants_json(request):
            return response
        page = render(request, "405.html", {"allowed": response["Allow"]}, status=405)
        page["Allow"] = response["Allow"]
        return page


class UploadLimit:
    """Refuses a body that is larger than any form of ours, with 413, before it is parsed."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            return HttpResponse("Content-Length is not a number.\n", "text/plain", 400)
        limit = settings.BOARD_REQUEST_BYTES_MAX
        if length <= limit:
            return self.get_response(request)
        swallow(request, min(length, SWALLOWED_BYTES_MAX))
        page = render_to_string("413.html", {"limit_bytes": limit, "length_bytes": length})
        return HttpResponse(page, status=413)


def swallow(request: HttpRequest, length: int) -> None:
    """Reads `length` bytes of the body and forgets them."""
    while length > 0:
        chunk = request.read(min(length, SWALLOW_CHUNK_BYTES))
        if not chunk:
            return
        length -= len(chunk)
