"""Runs the feature checks and suites on both sides and writes the table.

Usually started by `make drivers`, which brings a cluster and pgweir up first; any two addresses
that lead to one cluster can be compared:

    python3 -m compare --direct 127.0.0.1:5432 --through 127.0.0.1:6432 --superuser postgres:secret --app app:app
"""

import argparse
import sys
import time

from . import page, smoke, suites
from .outcome import Comparison
from .place import Place
from .target import Login, Target


def main():
    parser = argparse.ArgumentParser(description="drivers' feature checks and suites, directly and through a proxy")
    parser.add_argument("--direct", required=True, help="host:port of the primary")
    parser.add_argument("--through", required=True, help="host:port of the proxy")
    parser.add_argument("--name", default="pgweir", help="the proxy's name")
    parser.add_argument("--superuser", required=True, help="user:password")
    parser.add_argument("--app", required=True, help="user:password of an ordinary role")
    parser.add_argument("--pg-bin", default="/usr/lib/postgresql/15/bin", help="PostgreSQL's programs")
    parser.add_argument("--place", default="target/compare", help="where drivers are installed")
    parser.add_argument("--results", default="tests/drivers/RESULTS.md")
    parser.add_argument("--only", action="append", default=[], help="a suite or feature check by name, or `smoke`, `suites`")
    arguments = parser.parse_args()

    place = Place(arguments.place)
    place.install()
    direct, through = sides(arguments)
    wanted = set(arguments.only)
    programs, ran = dict(smoke.programs(place)), []

    def run(kind, name, side_by_side):
        comparison = compare(name, side_by_side, direct, through)
        comparison.save(place.results / kind)
        ran.append(comparison)
        names = {"smoke": programs, "suites": suites.SUITES}
        kept = {kind: [Comparison.load(place.results / kind, name) for name in names[kind]] for kind in names}
        page.write(arguments.results, arguments.name, kept, direct)

    for name, command in programs.items():
        if not wanted or wanted & {"smoke", name}:
            run("smoke", name, lambda target, command=command: smoke.run(place, target, command))
    for name, suite in suites.SUITES.items():
        if not wanted or wanted & {"suites", f"{name} suite"}:
            run("suites", name, lambda target, suite=suite: suite(place, target))
    lost = sum(len(comparison.lost()) for comparison in ran)
    troubles = [comparison.suite for comparison in ran if comparison.trouble]
    print(f"{lost} tests pass directly and not through {arguments.name}; {arguments.results} has them")
    sys.exit(1 if troubles else 0)


def sides(arguments):
    def address(text):
        host, port = text.rsplit(":", 1)
        return host, int(port)

    primary = address(arguments.direct)
    logins = [Login(*text.split(":", 1)) for text in (arguments.superuser, arguments.app)]
    side = lambda name, text: Target(name, *address(text), primary, *logins, arguments.pg_bin)
    return side("direct", arguments.direct), side(arguments.name, arguments.through)


def compare(name, run, direct, through):
    comparison = Comparison(name)
    for side, target in (("direct", direct), ("through", through)):
        started = time.monotonic()
        try:
            setattr(comparison, side, run(target))
        except Exception as error:  # a suite that cannot be run is a line of the table, not the end
            comparison.trouble = f"{target.name}: {error}"
        counts = ", ".join(f"{comparison.count(side, verdict)} {verdict}" for verdict in ("passed", "failed", "skipped"))
        print(f"{name}, {target.name}: {counts} ({time.monotonic() - started:.0f} s)", flush=True)
    if comparison.trouble:
        print(f"  {comparison.trouble[:500]}", flush=True)
    for test, (was, now) in comparison.lost().items():
        print(f"  lost: {test}: {now.text[:300]}", flush=True)
    return comparison


main()
