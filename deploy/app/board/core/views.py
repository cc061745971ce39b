"""The pages for what went wrong, and the answer for those who ask whether we live."""

from typing import Any

from django.contrib.auth.mixins import UserPassesTestMixin
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from board.core.negotiate import wants_json


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form came without its token: 403, in the form the client understands."""
    if wants_json(request):
        return JsonResponse({"error": "CSRF token missing or wrong", "detail": reason}, status=403)
    return render(request, "403_csrf.html", {"reason": reason}, status=403)


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """200 while the database answers: for load balancers, and for scripts that wait for us."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return HttpResponse("ok\n", content_type="text/plain")


class RefusesPolitely:
    """Sends a form that has mistakes back with 422, so that scripts see the refusal as well."""

    def form_invalid(self, form: Any) -> HttpResponse:
        view: Any = self
        response: HttpResponse = view.render_to_response(view.get_context_data(form=form))
        response.status_code = 422
        return response


class AuthorOnly(UserPassesTestMixin):
    """Lets a view work on objects of one's own only: 403 for others, staff excepted."""

    def test_func(self) -> bool:
        view: Any = self
        user = view.request.user
        return bool(user.is_staff or view.get_object().author_id == user.pk)
