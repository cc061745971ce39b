"""What a client would like to read: `Accept`, and the marks that Ajax leaves."""

from collections.abc import Sequence

from django.http import HttpRequest


def wants_json(request: HttpRequest) -> bool:
    """True for API calls, and for scripts that ask for JSON rather than a page."""
    if request.path.startswith("/api/"):
        return True
    return best_type(request, ["text/html", "application/json"]) == "application/json"


def is_script(request: HttpRequest) -> bool:
    """True for `fetch` and `$.ajax` calls of ours, which say so in a header."""
    return request.headers.get("X-Requested-With") == "XMLHttpRequest"


def best_type(request: HttpRequest, offered: Sequence[str]) -> str | None:
    """The offered media type that the client likes best, or None where it takes none of them.

    See RFC 9110 section 12.5.1. Django weighs qualities and specificity.
    """
    return request.get_preferred_type(offered)
