"""The results as a page."""

from pathlib import Path

from .exceptions import EXCEPTIONS

SECTIONS = [
    ("smoke", "Feature checks", "One small check per feature and driver; what it sees must be the same on both sides."),
    ("suites", "Published suites", "The drivers' own tests, as their packages hold them."),
]


def write(path, name, comparisons, direct):
    version = direct.sql("SHOW server_version").strip()
    text = ["# Drivers: directly and through " + name, "",
            "Written by `make drivers`. Each suite runs twice on fresh databases: on the primary, and through "
            f"{name} with splitting and transaction pooling on, over a primary and two replicas (PostgreSQL {version}). "
            "*Lost* are the tests that pass directly and not through it. Suites may be run one by one: each line says when it was.", ""]
    for key, title, words in SECTIONS:
        done = [one for one in comparisons[key] if one]
        if not done:
            continue
        text += [f"## {title}", "", words, "",
                 f"| suite | direct: passed | failed | skipped | {name}: passed | failed | skipped | lost | run |",
                 "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
        for one in done:
            counts = [one.count(side, verdict) for side in ("direct", "through") for verdict in ("passed", "failed", "skipped")]
            text.append(f"| {one.suite} | {' | '.join(map(str, counts))} | {len(one.lost())} | {one.when} |")
        text.append("")
        for one in done:
            text += exceptions(one)
    Path(path).write_text("\n".join(text).rstrip() + "\n")


def exceptions(one):
    text = []
    if one.trouble:
        text += [f"**{one.suite}** could not be run: {one.trouble.splitlines()[0][:300]}", ""]
    lost = one.lost()
    if not lost:
        return text
    text += [f"Lost in **{one.suite}**:", "", "| test | what came instead | why |", "| --- | --- | --- |"]
    for test, (was, now) in sorted(lost.items()):
        came = now.text if now.verdict != was.verdict else f"saw {now.text} instead of {was.text}"
        why = next((reason for part, reason in EXCEPTIONS.items() if part in f"{one.suite}: {test}"), "not known yet")
        text.append(f"| `{test}` | {clean(came)} | {why} |")
    return [*text, ""]


def clean(text):
    return " ".join(text.split())[:200].replace("|", "\\|")
