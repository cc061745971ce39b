"""pgweir's own figures, read from its `/metrics` page.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from django.conf import settings

TIMEOUT_SECONDS = 1.0
PAGE_BYTES_MAX = 4 * 1024 * 1024
SAMPLE = re.compile(r"^(pgweir_\w+)(?:\{(.*)\})?\s+(\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line of the page."""

    name: str
    labels: dict[str, str]
    value: float


def fetch() -> list[Sample] | None:
    """All samples of pgweir, or None where its address is not set or does not answer."""
    if not settings.WEIR_HTTP.startswith(("http://", "https://")):
        return None
    address = settings.WEIR_HTTP.rstrip("/") + "/metrics"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as page:  # noqa: S310
            return parse(page.read(PAGE_BYTES_MAX).decode("utf-8", "replace"))
    except (urllib.error.URLError, OSError, ValueError):
        return None


def parse(page: str) -> list[Sample]:
    """The samples of a page; comments and lines that are none are passed over."""
    samples = []
    for line in page.splitlines():
        match = SAMPLE.match(line)
        if not match:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        labels = dict(LABEL.findall(match[2] or ""))
        samples.append(Sample(match[1].removeprefix("pgweir_"), labels, value))
    return samples


def nodes(samples: list[Sample]) -> dict[str, dict[str, Any]]:
    """The samples by node: up, role, lag, server connections."""
    found: dict[str, dict[str, Any]] = {}
    for sample in samples:
        address = sample.labels.get("node")
        if address is None:
            continue
        entry = found.setdefault(address, {"node": address, "connections": 0})
        match sample.name:
            case "node_up":
                entry["up"] = sample.value == 1
            case "node_is_primary":
                entry["role"] = "primary" if sample.value == 1 else "replica"
            case "replica_lag_bytes":
                entry["lag_bytes"] = int(sample.value)
            case "replica_lag_seconds":
                entry["lag_ms"] = round(sample.value * 1000, 1)
            case "server_connections":
                entry["connections"] += int(sample.value)
    return found


def clients(samples: list[Sample]) -> int:
    """Clients that pgweir serves, in whatever state."""
    return int(sum(sample.value for sample in samples if sample.name == "clients"))
