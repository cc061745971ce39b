"""Every kind of page, light and dark, wide and narrow, through the accessibility checker axe-core.

Its rules are those of WCAG 2.1, levels A and AA: https://www.w3.org/WAI/WCAG21/quickref/
"""

import os
import unittest
from typing import Any

from axe_core_python.selenium import Axe

from . import support
from .support import Browser, Server

PAGES = (
    "/",
    "/search/?q=mist",
    "/accounts/ada/",
    "/accounts/signup/",
    "/accounts/login/",
    "/insights/",
    "/learn/",
    "/learn/request/",
    "/learn/race/",
    "/weir/",
    "/nowhere/",
)
OPTIONS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


class Accessibility(unittest.TestCase):
    url: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.url = os.environ.get("BOARD_URL", "").rstrip("/")
        if not cls.url:
            support.manage("migrate", "--verbosity=0")
            support.manage("seed")
            server = Server().wait()
            cls.addClassCleanup(server.stop)
            cls.url = server.url

    def check(self, browser: Browser, path: str) -> None:
        """No violation; and nothing that makes a narrow screen scroll sideways."""
        browser.open(path)
        browser.js("document.querySelector('#weir-bar').open = true")
        found: dict[str, Any] = Axe().run(browser.driver, options=OPTIONS)
        violations = [
            (violation["id"], [node["html"] for node in violation["nodes"]][:3])
            for violation in found["violations"]
        ]
        self.assertEqual(violations, [], path)
        wider = "return document.documentElement.scrollWidth > window.innerWidth"
        self.assertFalse(browser.js(wider), path)

    def walk(self, width: int, scheme: str) -> None:
        browser = Browser(self.url, width, 900)
        try:
            emulate = browser.driver.execute_cdp_cmd
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            emulate("Emulation.setEmulatedMedia", {"features": media})
            if width < 600:
                size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True}
                emulate("Emulation.setDeviceMetricsOverride", size)
            browser.open("/")
            post = browser.find("article h2 a").get_attribute("href") or ""
            theme = browser.js("return document.documentElement.dataset.bsTheme")
            self.assertEqual(theme, scheme)
            for path in (*PAGES, post.removeprefix(self.url)):
                with self.subTest(path):
                    self.check(browser, path)
        finally:
            browser.close()

    def test_wide_and_light(self) -> None:
        self.walk(1280, "light")

    def test_narrow_and_dark(self) -> None:
        self.walk(390, "dark")

    def test_a_keyboard_reaches_the_content_by_the_first_link(self) -> None:
        browser = Browser(self.url)
        try:
            browser.open("/")
            first = "return document.querySelector('a[href], button, input').getAttribute('href')"
            self.assertEqual(browser.js(first), "#content")
        finally:
            browser.close()
