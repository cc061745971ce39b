"""What all walks share: requests, steps that are checked, and the sums as one line of JSON."""

import concurrent.futures
import http.cookiejar
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

URL = os.environ["WALK_URL"]
PORT = int(os.environ["WALK_PORT"])
ROUNDS = int(os.environ["WALK_ROUNDS"])
USERS = int(os.environ["WALK_USERS"])

# What is not there after this long will not come: the replicas of a run are 200 ms late.
COMES_WITHIN_SECONDS = 5
REQUEST_SECONDS = 60
NOTES_MAX = 5
# Who fails this often has told enough, and each time takes a while.
USER_ERRORS_MAX = 10


class Wrong(Exception):
    """Something failed, or is wrong and stays so: the rest of the round makes no sense."""


class Sums:
    """What all users of a walk have seen."""

    def __init__(self):
        self.lock = threading.Lock()
        self.steps = self.errors = self.stale = 0
        self.notes = []

    def step(self):
        with self.lock:
            self.steps += 1

    def error(self, text):
        with self.lock:
            self.errors += 1
            self.notes = (self.notes + [f"error: {text}"[:400]])[:NOTES_MAX]

    def was_stale(self, text):
        with self.lock:
            self.stale += 1
            self.notes = (self.notes + [f"stale: {text}"[:400]])[:NOTES_MAX]


SUMS = Sums()


class Answer:
    """A status and what came with it."""

    def __init__(self, status, body):
        self.status = status
        self.text = body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.text) if self.text else None

    def __repr__(self):
        return f"{self.status} {self.text[:200]}"


class User:
    """Somebody who uses the application: a browser with its cookies, or a program with its token."""

    def __init__(self, headers=None):
        self.headers = headers or {}
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def ask(self, method, path, body=None, form=None):
        """One request, whatever is answered."""
        data, headers = None, dict(self.headers)
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(URL + path, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=REQUEST_SECONDS) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    def does(self, method, path, body=None, form=None):
        """A step that has to succeed."""
        SUMS.step()
        answer = self.ask(method, path, body, form)
        if answer.status >= 400:
            raise Wrong(f"{method} {path}: {answer}")
        return answer

    def sees(self, what, path, right, method="GET", body=None):
        """A step that reads what was just written: it has to be right at once."""
        return sees(what, lambda: self.ask(method, path, body), lambda answer: ask_right(right, answer))

    def finds_nothing(self, what, path):
        """A step that reads what was just deleted."""
        return self.sees(what, path, lambda answer: answer.status in (404, 410))


def ask_right(right, answer):
    """An answer that lacks what is looked for is not right yet."""
    try:
        return right(answer)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False


def sees(what, read, right):
    """Reads until it is right; whatever was not right at once was stale, whatever never is, is wrong."""
    SUMS.step()
    end = time.monotonic() + COMES_WITHIN_SECONDS
    first = answer = read()
    while not right(answer):
        if getattr(answer, "status", 0) >= 500 or time.monotonic() > end:
            raise Wrong(f"{what}: {answer!r}")
        time.sleep(0.02)
        answer = read()
    if answer is not first:
        SUMS.was_stale(f"{what}: at first {first!r}")
    return answer


def eventually(what, read, right, seconds=60):
    """Waits for what the application does in its own time; late is not stale here."""
    SUMS.step()
    end = time.monotonic() + seconds
    while not right(answer := read()):
        if time.monotonic() > end:
            raise Wrong(f"{what}: {answer!r}")
        time.sleep(0.05)
    return answer


def go(make_user, walk):
    """All users walk at once, each so many rounds; then the sums."""

    def one(number):
        user, errors = None, 0
        for lap in range(ROUNDS):
            try:
                user = user or make_user(number)
                walk(user, f"{number}x{lap}")
            except Exception as error:  # A walk goes on: what was wrong counts, and is told.
                SUMS.error(str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}")
                errors += 1
            if errors == USER_ERRORS_MAX:
                return

    with concurrent.futures.ThreadPoolExecutor(USERS) as users:
        list(users.map(one, range(USERS)))
    print(json.dumps({"steps": SUMS.steps, "errors": SUMS.errors, "stale": SUMS.stale, "notes": SUMS.notes}))
