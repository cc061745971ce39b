"""What became of each test, and how two runs compare."""

import json
import re
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass, field

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Outcome:
    """One test of one run."""

    verdict: str
    # What it saw (feature checks only) or why it failed.
    text: str = ""

    def same_as(self, other):
        if self.verdict != other.verdict:
            return False
        return self.verdict != PASSED or self.text == other.text


@dataclass
class Comparison:
    """A suite on both sides, with what differs."""

    suite: str
    direct: dict = field(default_factory=dict)
    through: dict = field(default_factory=dict)
    trouble: str = ""
    when: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M"))

    def save(self, directory):
        """Kept for the page: not every run is of every suite."""
        directory.mkdir(exist_ok=True)
        file_of(directory, self.suite).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, directory, suite):
        """The last run of that suite, if there was one."""
        file = file_of(directory, suite)
        if not file.exists():
            return None
        kept = json.loads(file.read_text())
        sides = {side: {name: Outcome(**one) for name, one in kept.pop(side).items()} for side in ("direct", "through")}
        return cls(**kept, **sides)

    def count(self, side, verdict):
        return sum(outcome.verdict == verdict for outcome in getattr(self, side).values())

    def lost(self):
        """Tests that pass directly and do not, or do not see the same, on the other side."""
        missing = Outcome(FAILED, "did not run")
        return {
            name: (outcome, self.through.get(name, missing))
            for name, outcome in self.direct.items()
            if outcome.verdict == PASSED and not outcome.same_as(self.through.get(name, missing))
        }


def file_of(directory, suite):
    return directory / f"{re.sub(r'[^A-Za-z0-9]+', '-', suite)}.json"


def from_junit(path):
    """Outcomes from the XML that pytest writes."""
    outcomes = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            text = (bad[0].get("message") or bad[0].text or "").strip()
            outcomes[name] = Outcome(FAILED, text[:600])
        elif any(child.tag == "skipped" for child in case):
            outcomes[name] = Outcome(SKIPPED)
        else:
            outcomes[name] = Outcome(PASSED)
    return outcomes
