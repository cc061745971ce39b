"""Where a suite is run: an address, a role, and a way to have a fresh database."""

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Login:
    user: str
    password: str


@dataclass(frozen=True)
class Target:
    """One of the two sides of a comparison."""

    name: str
    host: str
    port: int
    # Databases are made and dropped here, whatever stands before the cluster.
    primary: tuple[str, int]
    superuser: Login
    app: Login
    pg_bin: str

    def environment(self, login, database):
        """libpq's variables; everything else that might lead elsewhere is taken away."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return clean | {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": login.user,
            "PGPASSWORD": login.password,
            "PGDATABASE": database,
            "PGCONNECT_TIMEOUT": "20",
            "PG_BIN": self.pg_bin,
        }

    def sql(self, text, database="postgres"):
        """Runs statements as superuser on the primary itself."""
        host, port = self.primary
        environment = self.environment(self.superuser, database) | {"PGHOST": host, "PGPORT": str(port)}
        arguments = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        for statement in text.split(";\n"):
            arguments += ["-c", statement]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{text}: {done.stderr}")
        return done.stdout

    def fresh_database(self, name, owner):
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE);\nCREATE DATABASE {name} OWNER {owner}")

    def drop_database(self, name):
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
