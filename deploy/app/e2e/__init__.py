"""The application from end to end: real server processes, a real browser, a real database.

    python -m unittest -v e2e.story          the story, at BOARD_URL or on servers of its own
    python -m unittest -v e2e.control_room   levels, zones, peak and live reload
    python -m unittest -v e2e.compare        Django's router beside pgweir
    python -m unittest -v e2e.files          S3-compatible buckets
    python -m unittest -v e2e.accessibility  axe-core on every kind of page
    python -m unittest -v e2e.connections    persistent connections, psycopg's pool, ASGI

The environment says where things are (see support.py); what is not there is skipped with a reason,
unless BOARD_STRICT=1.
"""
