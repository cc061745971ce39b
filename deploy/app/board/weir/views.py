"""The control room: levels, nodes, experiments, a peak. Development and demo only."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import wraps
from typing import Any

import psycopg
from django.conf import settings
from django.contrib import messages
from django.db import Error
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from board.weir import consistency, console, demo, experiments, load

View = Callable[[HttpRequest], HttpResponseBase]
ACTIONS = {"pause", "resume", "delay", "stop", "start", "add"}


def demo_only(view: View) -> View:
    """404 where the bar is switched off: production has no control room."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponseBase:
        if not settings.WEIR_BAR:
            raise Http404("no control room here")
        return view(request)

    return guarded


@demo_only
@never_cache
@require_safe
def room(request: HttpRequest) -> HttpResponse:
    """The page with all the buttons."""
    context = {
        "picture": picture(),
        "levels": [("", "the default"), *consistency.LEVELS.items()],
        "clients_max": load.CLIENTS_MAX,
        "console": bool(settings.WEIR_CONSOLE),
        "page": settings.WEIR_HTTP,
    }
    return render(request, "weir/room.html", context)


@demo_only
@require_POST
def level(request: HttpRequest) -> HttpResponse:
    """Keeps the level that somebody wants for their own session, in their session."""
    wanted = request.POST.get("level", "")
    if wanted in consistency.LEVELS:
        request.session[consistency.SESSION_KEY] = wanted
        messages.info(request, f"Your reads are now {consistency.LEVELS[wanted]}.")
    elif wanted == "":
        request.session.pop(consistency.SESSION_KEY, None)
        messages.info(request, "Your reads follow the configured default again.")
    else:
        return render(request, "400.html", status=400)
    following = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(
        following, {request.get_host()}, require_https=request.is_secure()
    )
    return redirect(following if safe else "/")


@demo_only
@never_cache
@require_safe
def status(request: HttpRequest) -> HttpResponse:
    """Nodes, lag and connections, as JSON for the page's charts."""
    return JsonResponse(picture())


def picture() -> dict[str, Any]:
    """pgweir's figures and the demo's own knowledge, by node."""
    known = load.status()
    by_address = {node["node"]: dict(node) for node in known["nodes"]}
    try:
        described = demo.load()
    except demo.Refused as refused:
        return {"nodes": list(by_address.values()), "trouble": str(refused), "buttons": False}
    for node in described.nodes if described else []:
        entry = by_address.setdefault(node.address, {"node": node.address})
        entry.update(name=node.name, zone=node.zone, **demo.state(node))
    for address, entry in by_address.items():
        entry.setdefault("name", settings.WEIR_NODE_NAMES.get(address, address))
    return {
        "nodes": sorted(by_address.values(), key=lambda entry: str(entry["name"])),
        "clients": known["clients"],
        "zone": described.raw.get("zone") if described else None,
        "buttons": described is not None,
        "pgweir": known["clients"] is not None,
    }


@demo_only
@require_POST
def freshness(request: HttpRequest) -> HttpResponse:
    """Writes and reads back at the wanted level."""
    wanted = request.POST.get("level", "")
    if wanted and wanted not in consistency.LEVELS:
        return JsonResponse({"error": "no such level"}, status=400)
    rounds = whole_number(request, "rounds", 20)
    try:
        return JsonResponse(asdict(experiments.write_and_read_back(wanted, rounds)))
    except Error as error:
        return JsonResponse({"error": str(error)}, status=503)


@demo_only
@require_POST
def spread(request: HttpRequest) -> HttpResponse:
    """Reads many times and says which nodes answered."""
    try:
        return JsonResponse({"nodes": experiments.many_reads(whole_number(request, "reads", 60))})
    except Error as error:
        return JsonResponse({"error": str(error)}, status=503)


@demo_only
@require_POST
def node(request: HttpRequest) -> HttpResponse:
    """Pauses, slows, stops, starts or adds a node of the demo."""
    action, name = request.POST.get("action", ""), request.POST.get("name", "")
    if action not in ACTIONS:
        return JsonResponse({"error": "no such action"}, status=400)
    try:
        done = demo.act(action, name, whole_number(request, "delay_ms", 0))
    except (demo.Refused, psycopg.Error) as error:
        return JsonResponse({"error": str(error)}, status=409)
    return JsonResponse({"done": done})


@demo_only
@require_POST
def peak(request: HttpRequest) -> HttpResponseBase:
    """Runs a load and streams its ticks, a line of JSON each; it ends with the request."""
    clients = whole_number(request, "clients", 8)
    seconds = whole_number(request, "seconds", 8)
    warm = request.POST.get("warm") == "1"

    def lines() -> Iterator[str]:
        if warm:
            yield json.dumps({"note": console.warm()}) + "\n"
        for tick in load.run(clients, seconds):
            yield json.dumps(asdict(tick)) + "\n"

    response = StreamingHttpResponse(lines(), content_type="application/x-ndjson")
    response["X-Accel-Buffering"] = "no"
    return response


def whole_number(request: HttpRequest, name: str, default: int) -> int:
    """A form field as a number; the default for anything else."""
    text = request.POST.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
