"""Pages for learners."""

from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from board.core.negotiate import best_type
from board.learn import race as racing

BODY_BYTES_SHOWN_MAX = 4096
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Whoever looks over a shoulder at this page should not be able to take the session along.
HIDDEN = {"cookie", "authorization", "proxy-authorization", "x-csrftoken"}


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What there is to learn, with links to where it happens."""
    return render(request, "learn/index.html")


@csrf_exempt  # changes nothing, and is there to be called by anything
@require_http_methods(METHODS)
def echo(request: HttpRequest) -> HttpResponse:
    """The request line, headers and body that the server saw."""
    seen = {
        "request_line": f"{request.method} {request.get_full_path()} {protocol(request)}",
        "headers": {
            name: "(hidden)" if name.lower() in HIDDEN else value
            for name, value in sorted(request.headers.items())
        },
        "body": body(request),
        "host": request.get_host(),
        "query": {name: request.GET.getlist(name) for name in request.GET},
        "referer_path": urlsplit(request.headers.get("Referer", "")).path,
        "view_arguments": "request, nothing else: this address has no groups",
    }
    offered = ["text/html", "application/json", "text/plain"]
    kind = best_type(request, offered)
    if kind == "application/json":
        return JsonResponse(seen, json_dumps_params={"indent": 2})
    if kind == "text/html":
        return render(request, "learn/echo.html", {"seen": seen})
    headers = "".join(f"{name}: {value}\n" for name, value in seen["headers"].items())  # type: ignore[attr-defined]
    text = f"{seen['request_line']}\n{headers}\n{seen['body']}"
    return HttpResponse(text, "text/plain; charset=utf-8")


def protocol(request: HttpRequest) -> str:
    """`HTTP/1.1`, as far as the gateway tells."""
    return str(request.META.get("SERVER_PROTOCOL", "HTTP"))


def body(request: HttpRequest) -> str:
    """The first few kB of the body, as text; a token of ours is not repeated."""
    text = request.read(BODY_BYTES_SHOWN_MAX).decode("utf-8", "replace")
    if "csrfmiddlewaretoken" in text:
        pairs = (pair.split("=")[0] if "csrf" in pair else pair for pair in text.split("&"))
        text = "&".join(pairs)
    return text


@require_http_methods(["GET", "HEAD", "POST"])
def race(request: HttpRequest) -> HttpResponse:
    """Two editors race, on request, each of the four ways."""
    outcomes = [racing.run(way) for way in racing.WAYS] if request.method == "POST" else []
    context = {"outcomes": outcomes, "editors": racing.EDITORS, "edits": racing.EDITS_EACH}
    return render(request, "learn/race.html", context)
