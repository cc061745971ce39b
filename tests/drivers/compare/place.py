"""Where drivers and suites are installed: outside the source tree, once."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

# One version each, so that a result means the same tomorrow.
PYTHON = {
    "psycopg[binary]": "3.3.8", "psycopg2-binary": "2.9.13", "asyncpg": "0.32.0", "sqlalchemy": "2.1.9",
    "django": "5.2.19", "pg8000": "1.31.6", "pygresql": "6.2.3", "alembic": "1.20.1", "greenlet": None, "pytz": None,
    "python-dateutil": None, "pytest": "9.2.0", "pytest-mock": None, "distro": None,
}
NODE = ["pg", "pg-cursor", "pg-query-stream", "pg-copy-streams", "postgres"]
# Source packages that hold the drivers' own tests.
SOURCES = {
    "asyncpg": "0.32.0", "psycopg2": "2.9.13", "sqlalchemy": "2.1.9", "django": "5.2.19", "pg8000": "1.31.6",
    "pygresql": "6.2.3", "alembic": "1.20.1", "pony": "0.7.20",
}
SMOKE = Path(__file__).parent.parent / "smoke"
JDBC = "/usr/share/java/postgresql.jar"


class Place:
    """A directory with a virtual environment, node_modules, compiled programs and sources."""

    def __init__(self, directory):
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def python(self):
        return self.directory / "venv/bin/python"

    @property
    def node_modules(self):
        return self.directory / "node_modules"

    @property
    def results(self):
        """What became of each suite in its last run."""
        directory = self.directory / "results"
        directory.mkdir(exist_ok=True)
        return directory

    def install(self):
        """Idempotent; what a registry or a compiler cannot give is told, and its suites are left out."""
        self._once("python", self._python)
        self._once("node", self._node)
        self._once("java", self._java)
        self._once("go", self._go)

    def source(self, name):
        """The unpacked source package of a Python driver."""
        version = SOURCES[name]
        found = self.directory / "sources" / f"{name}-{version}"
        if not found.is_dir():
            into = self.directory / "sources"
            into.mkdir(exist_ok=True)
            self._run(str(self.python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", str(into),
                      f"{name}=={version}")
            with tarfile.open(next(into.glob(f"{name}-{version}.tar.gz"))) as archive:
                archive.extractall(into, filter="data")
        return found

    def _once(self, name, install):
        mark = self.directory / f"{name}.installed"
        if mark.exists():
            return
        try:
            install()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name}: not installed ({error}); its suites are left out", file=sys.stderr)
            return
        mark.touch()

    def _python(self):
        # Debian's own interpreter where there is one: other ones may lack ensurepip.
        system = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
        self._run(system, "-m", "venv", str(self.directory / "venv"))
        wanted = [f"{name}=={version}" if version else name for name, version in PYTHON.items()]
        self._run(str(self.python), "-m", "pip", "install", "-q", *wanted)

    def _node(self):
        self._run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(self.directory), *NODE)

    def _java(self):
        if not Path(JDBC).exists():
            raise OSError(f"{JDBC} is missing (libpostgresql-jdbc-java)")
        classes = self.directory / "java"
        classes.mkdir(exist_ok=True)
        self._run("javac", "-nowarn", "-cp", JDBC, "-d", str(classes), str(SMOKE / "JdbcItems.java"))

    def _go(self):
        environment = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(self.directory / "gocache")}
        self._run("go", "build", "-o", str(self.directory / "lib_pq"), ".", cwd=SMOKE / "lib_pq", more=environment)

    def _run(self, *command, cwd=None, more=None):
        import os

        if not shutil.which(command[0]):
            raise OSError(f"{command[0]} is missing")
        subprocess.run(command, check=True, cwd=cwd, env=os.environ | (more or {}), stdout=subprocess.DEVNULL)
