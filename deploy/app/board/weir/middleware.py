"""Middleware that shows where a page's statements ran, and sets the level its reader has chosen."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from board.weir import consistency, trace

GetResponse = Callable[[HttpRequest], HttpResponseBase]

SUMMARY_MARK = b"<!--weir:summary-->"
STATEMENTS_MARK = b"<!--weir:statements-->"

# A form's POST ends in a redirect: what it did travels to the next page in a cookie.
BEFORE_COOKIE = "weir_before"
BEFORE_SALT = "board.weir.before"
BEFORE_SECONDS_MAX = 20
BEFORE_STATEMENTS_MAX = 24
BEFORE_SQL_CHARS_MAX = 90
COOKIE_CHARS_MAX = 3800


class TraceStatements:
    """Puts the bar's lines into pages, and the header `X-Weir` onto every answer."""

    def __init__(self, get_response: GetResponse) -> None:
        if not settings.WEIR_BAR:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with trace.tracing() as traced:
            response = self.get_response(request)
        summary = traced.summary()
        response["X-Weir"] = json.dumps(summary)
        if 300 <= response.status_code < 400:
            self.send_ahead(request, response, traced)
        elif not response.streaming and SUMMARY_MARK in getattr(response, "content", b""):
            self.fill_in(request, response, traced, summary)
        return response

    def fill_in(
        self,
        request: HttpRequest,
        response: Any,
        traced: trace.Trace,
        summary: dict[str, Any],
    ) -> None:
        """Replaces the page's two marks by what is known now."""
        before = self.from_before(request)
        if BEFORE_COOKIE in request.COOKIES:
            response.delete_cookie(BEFORE_COOKIE)
        context = {"summary": summary, "statements": traced.statements, "before": before}
        page = response.content
        for mark, template in (
            (SUMMARY_MARK, "weir/summary.html"),
            (STATEMENTS_MARK, "weir/statements.html"),
        ):
            page = page.replace(mark, render_to_string(template, context).encode(), 1)
        response.content = page
        if response.has_header("Content-Length"):
            response["Content-Length"] = str(len(page))

    def send_ahead(
        self, request: HttpRequest, response: HttpResponseBase, traced: trace.Trace
    ) -> None:
        """Signs this request's statements into a cookie for the page that follows."""
        if not traced.statements:
            return
        limit = BEFORE_STATEMENTS_MAX
        while limit:
            rows = [pack(statement) for statement in traced.statements[:limit]]
            line = {"m": request.method, "p": request.path[:100], "s": rows}
            value = signing.dumps(line, salt=BEFORE_SALT, compress=True)
            if len(value) <= COOKIE_CHARS_MAX:
                response.set_cookie(
                    BEFORE_COOKIE,
                    value,
                    max_age=BEFORE_SECONDS_MAX,
                    httponly=True,
                    samesite="Lax",
                    secure=request.is_secure(),
                )
                return
            limit //= 2

    def from_before(self, request: HttpRequest) -> dict[str, Any] | None:
        """What the request before this page did, if it was a redirect to here."""
        try:
            line = signing.loads(
                request.COOKIES[BEFORE_COOKIE], salt=BEFORE_SALT, max_age=BEFORE_SECONDS_MAX
            )
        except (KeyError, signing.BadSignature):
            return None
        statements = [unpack(row) for row in line["s"]]
        summary = trace.summarise(statements)
        return {**summary, "method": line["m"], "path": line["p"], "statements": statements}


def pack(statement: trace.Statement) -> list[Any]:
    """A statement as short JSON."""
    route = statement.route
    where = [route.node, route.role, route.reason, route.waited_ms, route.lag_ms] if route else []
    sql, half = statement.sql, BEFORE_SQL_CHARS_MAX // 2
    if len(sql) > BEFORE_SQL_CHARS_MAX:  # what it is stands at the start, how it locks at the end
        sql = f"{sql[:half]} … {sql[-half:]}"
    return [sql, statement.kind, round(statement.took_ms, 1), *where]


def unpack(row: list[Any]) -> trace.Statement:
    """The reverse of `pack`."""
    sql, kind, took_ms, *where = row
    return trace.Statement(sql, took_ms, trace.Route(*where) if where else None, kind)


class ChosenConsistency:
    """Runs the view at the consistency level that its reader has chosen.

    Session and user are loaded first, at the configured level: a person who looks at stale pages
    on purpose should not be logged out by a stale session.
    """

    def __init__(self, get_response: GetResponse) -> None:
        if not settings.WEIR_BAR:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        level = consistency.chosen(request)
        if level is None:
            return self.get_response(request)
        bool(request.user.is_authenticated)
        with consistency.at(level):
            return self.get_response(request)
