"""Static files and photos in S3-compatible buckets: a real S3 API server, a real browser.

The API server is moto's, from PyPI: https://docs.getmoto.org/en/latest/docs/server_mode.html
"""

import io
import logging
import os
import tempfile
import unittest
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer
from PIL import Image

from board.posts import pictures

from . import support
from .support import Browser, Server

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
REGION = "eu-central-1"


class Buckets(unittest.TestCase):
    """Direct upload, re-encoding, signed addresses, cache headers, a CDN's domain."""

    bucket_server: ThreadedMotoServer
    endpoint: str
    environment: dict[str, str]
    s3: Any
    server: Server
    browser: Browser

    @classmethod
    def setUpClass(cls) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        patch = mock.patch.dict(os.environ, {**KEYS, "AWS_EC2_METADATA_DISABLED": "true"})
        patch.start()
        cls.addClassCleanup(patch.stop)
        cls.bucket_server = ThreadedMotoServer("127.0.0.1", support.free_port(), verbose=False)
        cls.bucket_server.start()
        cls.addClassCleanup(cls.bucket_server.stop)
        host, port = cls.bucket_server.get_host_and_port()
        cls.endpoint = f"http://{host}:{port}"
        cls.s3 = boto3.client("s3", endpoint_url=cls.endpoint, region_name=REGION)
        for bucket in ("board-media", "board-static"):
            place = {"LocationConstraint": REGION}
            cls.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        cls.environment = {
            "BOARD_S3": "1",
            "BOARD_S3_ENDPOINT": cls.endpoint,
            "BOARD_S3_REGION": REGION,
            "BOARD_S3_ADDRESSING": "path",
            "BOARD_S3_PROTOCOL": "http",
            "BOARD_S3_STATIC_ACL": "public-read",
            "BOARD_S3_STATIC_DOMAIN": f"{cls.endpoint.removeprefix('http://')}/board-static",
        }
        support.manage("migrate", "--verbosity=0")
        support.manage("seed")
        support.manage("collectstatic", "--noinput", "--verbosity=0", **cls.environment)
        cls.server = Server(None, **cls.environment).wait()
        cls.addClassCleanup(cls.server.stop)
        cls.browser = Browser(cls.server.url)
        cls.addClassCleanup(cls.browser.close)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, Any]:
        """What is in the bucket, with each object's headers."""
        listed = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {
            entry["Key"]: self.s3.head_object(Bucket=bucket, Key=entry["Key"]) for entry in listed
        }

    def test_1_static_files_come_from_their_bucket_with_hashed_names(self) -> None:
        self.browser.open("/accounts/signup/")
        style = self.browser.find("link[href*='board.'][rel=stylesheet]").get_attribute("href")
        assert style is not None
        self.assertRegex(style, rf"^{self.endpoint}/board-static/board/board\.[0-9a-f]{{12}}\.css$")
        width = "return getComputedStyle(document.querySelector('.weir-bar')).position"
        self.assertEqual(self.browser.js(width), "fixed")
        key = style.split("/board-static/")[1]
        head = self.objects("board-static", key)[key]
        self.assertIn("max-age=31536000", head["CacheControl"])
        self.assertEqual(head["ContentType"], "text/css")

    def test_2_the_browser_sends_the_photo_straight_to_the_bucket(self) -> None:
        name = f"files{support.free_port()}{os.getpid()}"
        self.browser.fill("#id_username", name)
        self.browser.fill("#id_password1", support.PASSWORD)
        self.browser.fill("#id_password2", support.PASSWORD)
        self.browser.submit("#signup-form")
        self.browser.open("/create/")
        self.browser.fill("#id_title", "From the bucket")
        self.browser.fill("#id_body", "With a photo.")
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "photo.png")
            Image.open(io.BytesIO(pictures.landscape(5))).save(path)
            self.browser.find("#id_photo").send_keys(str(path))
            self.browser.submit("#post-form")
        self.assertEqual(self.browser.find("h1").text, "From the bucket")
        loaded = "return document.querySelector('.photo').naturalWidth"
        self.browser.until(lambda: self.browser.js(loaded) == 960, "the photo from the bucket")
        self.assertEqual(self.objects("board-media", "incoming/"), {})
        [photo] = self.objects("board-media", "photos/").values()
        self.assertEqual(photo["ContentType"], "image/jpeg")
        self.assertIn("immutable", photo["CacheControl"])
        source = self.browser.find(".photo").get_attribute("src") or ""
        self.assertIn("X-Amz-Signature=", source)
        with urllib.request.urlopen(source, timeout=10) as answer:
            self.assertEqual(answer.headers["Content-Type"], "image/jpeg")
        self.assertEqual(self.browser.console_errors(), [])

    def test_3_what_arrives_in_the_bucket_is_checked_like_any_upload(self) -> None:
        self.browser.open("/create/")
        answer = self.browser.driver.execute_async_script(
            """
            const done = arguments[0];
            (async () => {
              const headers = { "X-CSRFToken": csrf() };
              const wanted = new URLSearchParams({ content_type: "image/png" });
              const granted = await (await ask("/upload-grant/",
                { method: "POST", body: wanted, headers })).json();
              const form = new FormData();
              Object.entries(granted.fields).forEach(([name, value]) => form.append(name, value));
              form.append("file", new Blob(["<script>alert(1)</script>"]));
              const sent = await fetch(granted.url, { method: "POST", body: form });
              const post = new URLSearchParams(
                { title: "x", body: "y", upload_token: granted.token });
              const saved = await ask("/create/", { method: "POST", body: post, headers });
              const again = await ask("/create/", { method: "POST", body: post, headers });
              return [sent.ok, saved.status, await saved.text(), again.status,
                      granted.fields.policy];
            })().then(done, (error) => done([String(error)]));
            """
        )
        self.assertEqual((answer[0], answer[1]), (True, 422), answer[0])
        self.assertIn("not a JPEG, PNG or WebP", answer[2])
        self.assertEqual(answer[3], 422)
        self.assertEqual(self.objects("board-media", "incoming/"), {})
        status = self.browser.fetch("POST", "/upload-grant/")
        self.assertEqual(status, 415)

    def test_4_a_cdns_domain_takes_the_place_of_the_buckets(self) -> None:
        settings = {**self.environment, "BOARD_S3_MEDIA_DOMAIN": "cdn.example"}
        line = (
            "from board.posts.models import Post; "
            "print(Post.objects.exclude(photo='')[0].photo.url)"
        )
        url = support.manage("shell", "--no-imports", "-c", line, **settings)
        self.assertRegex(url, r"^http://cdn\.example/[^?]+\.jpg$")
        line = "from django.conf import settings; print(settings.BOARD_MEDIA_ORIGINS)"
        self.assertIn(
            "http://cdn.example", support.manage("shell", "--no-imports", "-c", line, **settings)
        )
