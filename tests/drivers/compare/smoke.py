"""The feature checks: one small program per driver, item by item."""

import queue
import shutil
import subprocess
import threading
from pathlib import Path

from .outcome import FAILED, PASSED, Outcome
from .place import JDBC, SMOKE

# An item that says nothing for so long hangs, seconds.
SILENCE_MAX = 60
DATABASE = "smoke"


def programs(place):
    """Name and command of each program whose driver is there."""
    python = str(place.python)
    found = {
        "psycopg 3": [python, str(SMOKE / "psycopg3.py")],
        "psycopg2": [python, str(SMOKE / "psycopg2_items.py")],
        "asyncpg": [python, str(SMOKE / "asyncpg_items.py")],
        "SQLAlchemy": [python, str(SMOKE / "sqlalchemy_items.py")],
        "Django": [python, str(SMOKE / "django_items.py")],
        "node-postgres": ["node", str(SMOKE / "node_pg.js")],
        "postgres.js": ["node", str(SMOKE / "node_postgres.js")],
        "JDBC": ["java", "-cp", f"{JDBC}:{place.directory / 'java'}", "JdbcItems"],
        "lib/pq": [str(place.directory / "lib_pq")],
        "Ruby pg": ["ruby", str(SMOKE / "ruby_pg.rb")],
        "DBD::Pg": ["perl", str(SMOKE / "dbd_pg.pl")],
        "PostgreSQL's programs": ["bash", str(SMOKE / "tools.sh")],
    }
    installed = {"node": "node", "java": "java", str(place.directory / "lib_pq"): "go"}
    for name, command in found.items():
        mark = installed.get(command[0])
        if shutil.which(command[0]) and (mark is None or (place.directory / f"{mark}.installed").exists()):
            yield name, command


def run(place, target, command):
    """Outcomes of all items on one side, on a database of their own."""
    target.fresh_database(DATABASE, target.app.user)
    environment = target.environment(target.app, DATABASE) | {"NODE_PATH": str(place.node_modules)}
    listed = subprocess.run([*command, "--list"], env=environment, capture_output=True, text=True, check=True)
    left = listed.stdout.split()
    outcomes = {}
    while left:
        told, running = _run_some(command, left, environment)
        outcomes |= told
        if running:
            outcomes[running] = Outcome(FAILED, "hangs, or its program died")
        before, left = left, [name for name in left if name not in outcomes]
        if left == before:
            outcomes |= {name: Outcome(FAILED, "the program says nothing") for name in left}
            break
    target.drop_database(DATABASE)
    # What is shown may name the address.
    for outcome in outcomes.values():
        outcome.text = outcome.text.replace(f"{target.host}:{target.port}", "HOST:PORT").replace(f"port {target.port}", "PORT")
    return outcomes


def _run_some(command, names, environment):
    """Runs until the end or a silence; returns what was told and which item was left hanging."""
    process = subprocess.Popen([*command, *names], env=environment, text=True, errors="replace", bufsize=1,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(SMOKE))
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    outcomes, running = {}, None
    while True:
        try:
            line = lines.get(timeout=SILENCE_MAX)
        except queue.Empty:
            process.kill()
            break
        if line is None:
            break
        word, *rest = line.rstrip("\n").split("\t")
        if word == "run":
            running = rest[0]
        elif word in ("ok", "fail") and rest:
            outcomes[rest[0]] = Outcome(PASSED if word == "ok" else FAILED, " ".join(rest[1:]))
            running = None
    process.wait()
    return outcomes, running
