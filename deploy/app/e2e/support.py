"""What the end-to-end tests share: servers, a browser, the bar as data, the demo's nodes.

PGHOST PGPORT …      pgweir (or, with BOARD_EXPECT=direct, Postgres itself)
BOARD_URL            an application that runs already; otherwise the tests start their own
BOARD_EXPECT         pgweir (default): the bar must prove nodes; direct: there is no pgweir
PGWEIR_DEMO_NODES    the nodes to slow, pause, stop and add to (see board/weir/demo.py)
PGWEIR_HTTP, PGWEIR_CONSOLE   pgweir's figures and console
BOARD_PRIMARY, BOARD_REPLICAS the nodes themselves, for the comparison with Django's router
BOARD_SHOTS          a directory for screenshots
BOARD_STRICT         1: what would be skipped fails
CHROMIUM, CHROMEDRIVER        the programs, if not in the usual place
"""

import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

APP = Path(__file__).resolve().parent.parent
WAIT_SECONDS = 15
PASSWORD = "weir-and-water-7"
EXPECT_PGWEIR = os.environ.get("BOARD_EXPECT", "pgweir") == "pgweir"
# Chromium talks to nobody but the application.
QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--no-default-browser-check",
]


def leave(*_: Any) -> None:
    """SIGTERM ends a run as Ctrl-C does: servers and browsers are stopped on the way out."""
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, leave)


def missing(what: str) -> unittest.SkipTest | AssertionError:
    """What to raise where the environment lacks something."""
    if os.environ.get("BOARD_STRICT") == "1":
        return AssertionError(f"not set or not there: {what}")
    return unittest.SkipTest(f"not set or not there: {what}")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One instance of the application under gunicorn (or another command), with its own port."""

    def __init__(self, command: list[str] | None = None, **environment: str) -> None:
        self.port = free_port()
        self.log = tempfile.NamedTemporaryFile(prefix="board-server-", suffix=".log")  # noqa: SIM115
        words = command or ["gunicorn", "board.wsgi:application"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=APP,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "board.settings.demo",
                "BOARD_BIND": f"127.0.0.1:{self.port}",
                "PORT": str(self.port),
                **environment,
            },
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        atexit.register(self.stop)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> "Server":
        """Until it answers; its log if it does not."""
        for _ in range(150):
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.stop()
        raise AssertionError(Path(self.log.name).read_text()[-3000:])

    def errors(self) -> list[str]:
        """The lines of the server's log that tell of errors."""
        return [line for line in Path(self.log.name).read_text().splitlines() if " ERROR " in line]

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def manage(*words: str, **environment: str) -> str:
    """Runs manage.py and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=APP,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "board.settings.demo", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"manage.py {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def demo_nodes() -> list[str]:
    """The names of the demo's replicas."""
    path = os.environ.get("PGWEIR_DEMO_NODES", "")
    if not path or not Path(path).exists():
        raise missing("PGWEIR_DEMO_NODES")
    nodes = json.loads(Path(path).read_text())["nodes"]
    return [node["name"] for node in nodes if node["name"] != "primary"]


def each_replica(action: str, *words: str) -> None:
    """Does the same to all replicas."""
    for name in demo_nodes():
        manage("demo_node", action, name, *words)


class Browser:
    """Headless Chromium with a fresh profile, and the bar as data."""

    def __init__(self, url: str, width: int = 1280, height: int = 900) -> None:
        self.url = url
        self.profile = tempfile.mkdtemp(prefix="board-chromium-")
        options = webdriver.ChromeOptions()
        for flag in (*QUIET, f"--user-data-dir={self.profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
        if not chromium or not driver:
            raise missing("chromium and chromedriver")
        options.binary_location = chromium
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(driver))
        self.driver.set_script_timeout(60)
        atexit.register(self.close)

    def close(self) -> None:
        atexit.unregister(self.close)
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.url)

    @property
    def text(self) -> str:
        """What a person can read in the page's main part."""
        return self.find("main").text

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def fill(self, css: str, text: str) -> None:
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def click(self, css: str) -> None:
        element = self.find(css)
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def submit(self, css: str) -> None:
        """Submits a form by its button and waits until the next page is there."""
        page = self.find("html")
        self.click(f"{css} button[type=submit]")
        self.until(lambda: page.id != self.find("html").id, "the form's answer")
        self.until(lambda: self.js("return document.readyState") == "complete", "the page")

    def js(self, script: str, *words: Any) -> Any:
        return self.driver.execute_script(script, *words)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
        """Waits until the condition holds."""
        wait = WebDriverWait(self.driver, seconds, 0.05, ignored_exceptions=[Exception])
        return wait.until(lambda _: condition(), f"waited {seconds} s for {what}")

    def fetch(self, method: str, path: str, token: bool = True, size: int = 0) -> int:
        """The status that `fetch` in the page gets; `size` bytes of body if wanted."""
        script = """
            const [method, path, token, size, done] = arguments;
            const headers = { "X-Requested-With": "XMLHttpRequest" };
            if (token) headers["X-CSRFToken"] = csrf();
            const body = size ? new Blob([new Uint8Array(size)]) : undefined;
            fetch(path, { method, headers, body })
                .then((answer) => done(answer.status), (error) => done(String(error)));
        """
        status: int = self.driver.execute_async_script(script, method, path, token, size)
        return status

    def shot(self, name: str) -> None:
        """A screenshot, if somebody wants them."""
        if directory := os.environ.get("BOARD_SHOTS"):
            Path(directory).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(directory, f"{name}.png")))

    def console_errors(self) -> list[str]:
        """What the browser complained of: scripts, security policy, missing files."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    # The bar.

    def rows(self, which: str) -> list[dict[str, str]]:
        """The bar's statements, of the `page` or of the request `before` it."""
        script = """
            return [...document.querySelectorAll(`[data-statements=${arguments[0]}] tr[data-kind]`)]
                .map((row) => ({ ...row.dataset, reason: row.cells[1].textContent,
                                 sql: row.cells[2].textContent }));
        """
        rows: list[dict[str, str]] = self.js(script, which)
        return rows

    def ajax(self) -> dict[str, Any]:
        """The summary of the newest Ajax call."""
        summary: str = self.js(
            "return document.querySelector('#weir-ajax .weir-line').dataset.weir"
        )
        parsed: dict[str, Any] = json.loads(summary)
        return parsed


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
    """Another person's look at a page: a connection of its own, no cookies, no redirects."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request("GET", f"/{path}", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
