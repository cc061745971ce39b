"""gunicorn's settings: `gunicorn board.wsgi:application` reads this file by itself."""

import os

bind = os.environ.get("BOARD_BIND", "127.0.0.1:8000")
# Threads share a process and its memory; more processes use more cores.
workers = int(os.environ.get("BOARD_WORKERS", "2"))
threads = int(os.environ.get("BOARD_THREADS", "4"))
worker_class = "gthread"
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
# Longer than the longest peak of the control room.
timeout = 90
graceful_timeout = 15
keepalive = 5
accesslog = os.environ.get("BOARD_ACCESS_LOG") or None
