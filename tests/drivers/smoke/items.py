"""The frame of the Python smoke programs: named items, one line of output each.

A program runs all its items, or those named as arguments, on connections described by the PG*
variables. It announces an item as `run<TAB>name` and ends it with `ok<TAB>name<TAB>observed` or
`fail<TAB>name<TAB>reason`. What was observed is compared between two runs; an item that has
nothing to show observes nothing.
"""

import os
import sys
import traceback

ITEMS = []


def item(function):
    """Registers a function as an item; its name is the item's."""
    ITEMS.append(function)
    return function


def login():
    """host, port, user, password, database."""
    return {
        "host": os.environ["PGHOST"],
        "port": int(os.environ["PGPORT"]),
        "user": os.environ["PGUSER"],
        "password": os.environ["PGPASSWORD"],
        "database": os.environ["PGDATABASE"],
    }


def line(*fields):
    text = "\t".join(str(field).replace("\t", " ").replace("\n", " ") for field in fields)
    print(text, flush=True)


def main(run=lambda function: function()):
    wanted = sys.argv[1:]
    if wanted == ["--list"]:
        for function in ITEMS:
            print(function.__name__)
        return
    for function in ITEMS:
        name = function.__name__
        if wanted and name not in wanted:
            continue
        line("run", name)
        try:
            observed = run(function)
        except BaseException as error:  # an item may fail in any way it likes
            if os.environ.get("TRACE"):
                traceback.print_exc()
            line("fail", name, f"{type(error).__name__}: {error}")
        else:
            line("ok", name, "" if observed is None else observed)
