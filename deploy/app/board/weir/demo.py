"""The demo's nodes: pausing, slowing, stopping and adding them.

A JSON file, named by PGWEIR_DEMO_NODES, describes them; without it there are no buttons.

    {"bin": "/usr/lib/postgresql/15/bin", "run_as": "postgres", "zone": "a",
     "config": "/run/demo/pgweir.toml", "pid": 4711,
     "nodes": [{"name": "primary", "address": "127.0.0.1:5432", "zone": "a",
                "data": "/run/demo/primary", "dsn": "host=/run/demo port=5432 user=postgres"}, …]}

A node of a group has `"groups": ["analytics"]` as well. `dsn` is a superuser's way in to that very
node, past pgweir; `run_as` is whose processes the nodes are (left out: the caller's). `config` and
`pid` are pgweir's: adding a replica edits the one and sends SIGHUP to the other.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings

COMMAND_SECONDS_MAX = 60
CONNECT_SECONDS_MAX = 3
DELAY_MS_MAX = 60_000
REPLICAS_MAX = 5
NODES_LIST = re.compile(r"^\s*nodes\s*=\s*\[", re.MULTILINE)
NODES_TABLES = re.compile(r"^\s*\[\[\s*cluster\s*\.\s*nodes\s*\]\]", re.MULTILINE)


class Refused(Exception):
    """The demo cannot do that; the text says why."""


@dataclass(frozen=True)
class Node:
    """One Postgres of the demo."""

    name: str
    address: str
    zone: str
    data: str
    dsn: str
    groups: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Demo:
    """What the file says."""

    path: Path
    raw: dict[str, Any]
    nodes: list[Node]

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise Refused(f"there is no node {name}")


def load() -> Demo | None:
    """The demo, or None where this is none."""
    if not settings.WEIR_DEMO_NODES:
        return None
    path = Path(settings.WEIR_DEMO_NODES)
    try:
        raw = json.loads(path.read_text())
        nodes = [Node(**node) for node in raw["nodes"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Refused(f"{path}: {error}") from None
    return Demo(path, raw, nodes)


def name_of(address: str) -> str | None:
    """What the demo calls the node at an address, one added a moment ago included."""
    try:
        written = (
            Path(settings.WEIR_DEMO_NODES).stat().st_mtime_ns if settings.WEIR_DEMO_NODES else 0
        )
        return names_as_of(settings.WEIR_DEMO_NODES, written).get(address) if written else None
    except (OSError, Refused):
        return None


@lru_cache(maxsize=1)
def names_as_of(path: str, written: int) -> dict[str, str]:
    """The names by address; asked again when the file at `path` was written anew."""
    demo = load()
    return {node.address: node.name for node in demo.nodes} if demo else {}


def act(action: str, name: str, delay_ms: int = 0) -> str:
    """Does one thing to one node and says what was done."""
    demo = load()
    if demo is None:
        raise Refused("PGWEIR_DEMO_NODES is not set: this is not the demo")
    if action == "add":
        return add(demo)
    node = demo.node(name)
    match action:
        case "pause":
            query(node, "SELECT pg_wal_replay_pause()")
            return f"{name}: replay is paused"
        case "resume":
            query(node, "SELECT pg_wal_replay_resume()")
            return f"{name}: replay goes on"
        case "delay":
            delay(node, delay_ms)
            return f"{name}: replay is {delay_ms} ms late"
        case "stop":
            control(demo, node, "stop", "-m", "fast")
            return f"{name} is stopped"
        case "start":
            control(demo, node, "start", "-l", f"{node.data}.log")
            return f"{name} is started"
    raise Refused(f"nobody can {action} a node")


def query(node: Node, sql: str) -> Any:
    """Runs a statement on that very node as its superuser; the first column of the first row."""
    try:
        with psycopg.connect(
            node.dsn, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX
        ) as direct:
            row = direct.execute(sql.encode())
            first = row.fetchone() if row.description else None
            return first[0] if first else None
    except psycopg.Error as error:
        raise Refused(f"{node.name}: {str(error).strip().splitlines()[0]}") from None


def delay(node: Node, delay_ms: int) -> None:
    """Lets the replica replay each commit so much later.

    https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-RECOVERY-MIN-APPLY-DELAY
    """
    if not 0 <= delay_ms <= DELAY_MS_MAX:
        raise Refused(f"the delay is 0 to {DELAY_MS_MAX} ms")
    query(node, f"ALTER SYSTEM SET recovery_min_apply_delay = {int(delay_ms)}")
    query(node, "SELECT pg_reload_conf()")


def state(node: Node) -> dict[str, Any]:
    """Whether the node runs, replays, and how late: asked of itself."""
    try:
        paused = query(
            node, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END"
        )
        late = query(node, "SELECT current_setting('recovery_min_apply_delay')")
    except Refused:
        return {"running": False}
    return {"running": True, "paused": bool(paused), "delay": late}


def run(demo: Demo, *command: str) -> None:
    """Runs one of Postgres's programs as the nodes' owner."""
    words = list(command)
    words[0] = str(Path(demo.raw["bin"]) / words[0])
    owner = demo.raw.get("run_as")
    if owner and os.getuid() == 0:
        words = ["runuser", "-u", owner, "--", *words]
    try:
        done = subprocess.run(  # noqa: S603 - words from the demo's own file
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(str(error)) from None
    if done.returncode:
        raise Refused((done.stdout.strip().splitlines() or ["it failed"])[-1])


def control(demo: Demo, node: Node, *words: str) -> None:
    """pg_ctl on the node's data directory."""
    run(demo, "pg_ctl", "-D", node.data, "-w", "-s", *words)


def add(demo: Demo) -> str:
    """Makes one replica more from a base backup, and tells pgweir by a live reload."""
    if len(demo.nodes) > REPLICAS_MAX:
        raise Refused("there are enough replicas for one machine")
    model = next(node for node in reversed(demo.nodes) if not node.groups)
    primary = demo.nodes[0]
    number = max(int(n) for node in demo.nodes for n in re.findall(r"\d+$", node.name) or ["0"]) + 1
    port = free_port()
    directory = Path(model.data).parent
    data = str(directory / f"replica-{number}")
    run(demo, "pg_basebackup", "-d", primary.dsn, "-D", data, "-R", "-X", "stream", "-c", "fast")
    with (Path(data) / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"\nport = {port}\n")
    host = model.address.rsplit(":", 1)[0]
    node = Node(
        name=f"replica-{number}",
        address=f"{host}:{port}",
        # Next door to pgweir, where reads move to it; in another zone it would only stand by.
        zone=demo.raw.get("zone") or model.zone,
        data=data,
        dsn=psycopg.conninfo.make_conninfo(model.dsn, port=port),
    )
    control(demo, node, "start", "-l", f"{data}.log")
    remember(demo, node)
    return f"{node.name} is up on {node.address}{tell_pgweir(demo, node)}"


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def remember(demo: Demo, node: Node) -> None:
    """Writes the node into the demo's file, in one step for whoever reads it."""
    demo.raw["nodes"].append(asdict(node))
    draft = demo.path.with_suffix(".draft")
    shutil.copymode(demo.path, draft) if draft.exists() else draft.touch(mode=0o600)
    draft.write_text(json.dumps(demo.raw, indent=1))
    draft.replace(demo.path)


def tell_pgweir(demo: Demo, node: Node) -> str:
    """Adds the address to `nodes` in pgweir's file and asks for a reload."""
    config, pid = demo.raw.get("config"), demo.raw.get("pid")
    if not config:
        return "; pgweir's file is not known, add the address there"
    path = Path(config)
    edited = with_node(path.read_text(), node)
    draft = path.with_suffix(".draft")
    draft.write_text(edited)
    shutil.copymode(path, draft)
    draft.replace(path)
    if pid:
        os.kill(int(pid), signal.SIGHUP)
    return "; pgweir has been asked to reload"


def with_node(text: str, node: Node) -> str:
    """pgweir's TOML with one node more at the end of `nodes`, everything else as it was."""
    if NODES_TABLES.search(text):
        entry = f'[[cluster.nodes]]\naddress = "{node.address}"\nzone = "{node.zone}"\n'
        return f"{text.rstrip()}\n\n{entry}"
    start = NODES_LIST.search(text)
    if not start:
        raise Refused("pgweir's file has no list of nodes")
    depth, quoted = 1, False
    for at in range(start.end(), len(text)):
        letter = text[at]
        if letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth == 0:
            before = text[:at].rstrip()
            comma = "" if before.endswith((",", "[")) else ","
            entry = f'{{ address = "{node.address}", zone = "{node.zone}" }}'
            return f"{before}{comma} {entry}{text[at:]}"
    raise Refused("the list of nodes in pgweir's file does not end")
