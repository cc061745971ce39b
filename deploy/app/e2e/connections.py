"""Ways to keep connections: one per request, persistent, psycopg's pool; WSGI and ASGI."""

import concurrent.futures
import unittest

from . import support
from .support import Server

REQUESTS = 60
CLIENTS = 6
PAGES = (
    "/",
    "/insights/",
    "/search/?q=mist",
    "/accounts/ada/",
    "/api/posts/",
    "/insights/posts.csv",
)


class Connections(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        support.manage("migrate", "--verbosity=0")
        support.manage("seed")

    def walk(self, server: Server) -> None:
        """Many requests at once, all answered."""
        try:
            server.wait()
            addresses = [server.url + PAGES[n % len(PAGES)] for n in range(REQUESTS)]
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
                answers = list(clients.map(support.get, addresses))
            self.assertEqual([status for status, _, _ in answers], [200] * REQUESTS)
            pages = {
                address: text for address, (_, _, text) in zip(addresses, answers, strict=True)
            }
            self.assertIn("Morning mist", pages[f"{server.url}/"])
            self.assertEqual(server.errors(), [])
        finally:
            server.stop()

    def test_a_connection_for_each_request(self) -> None:
        self.walk(Server(BOARD_CONN_MAX_AGE="0"))

    def test_connections_kept_between_requests(self) -> None:
        self.walk(Server(BOARD_CONN_MAX_AGE="600"))

    def test_connections_from_psycopgs_pool(self) -> None:
        self.walk(Server(BOARD_DB_POOL="1", BOARD_DB_POOL_MIN="2", BOARD_DB_POOL_MAX="4"))

    def test_asgi_as_an_option(self) -> None:
        port = str(support.free_port())
        command = ["uvicorn", "board.asgi:application", "--port", port, "--log-level", "warning"]
        server = Server(command, BOARD_DB_POOL="1")
        server.port = int(port)
        self.walk(server)
