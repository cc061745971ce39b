"""The drivers' own test suites, as they are published."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from .outcome import FAILED, PASSED, SKIPPED, Outcome, from_junit

# Longer than any of them takes directly, seconds.
SUITE_TIME_MAX = 2400


def asyncpg(place, target):
    """asyncpg's tests against a running cluster; what needs to start one of its own is skipped by itself."""
    source = place.source("asyncpg")
    work = place.directory / "work" / "asyncpg"
    # The tests alone: beside them the driver's sources would be imported instead of the installed driver.
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source / "tests", work / "tests")
    database = "asyncpg_suite"
    target.fresh_database(database, target.superuser.user)
    environment = target.environment(target.superuser, database)
    leave_out = ["test__sourcecode.py", "test__environment.py"]
    ignored = [f"--ignore=tests/{name}" for name in leave_out]
    return _pytest(place, target, work, environment, ["tests", *ignored], database)


def psycopg2(place, target):
    """psycopg2's tests."""
    source = place.source("psycopg2")
    database = "psycopg2_suite"
    target.fresh_database(database, target.superuser.user)
    target.sql("CREATE EXTENSION hstore", database)
    work = place.directory / "work" / "psycopg2"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source / "tests", work / "tests")
    environment = target.environment(target.superuser, database) | {
        "PSYCOPG2_TESTDB": database,
        "PSYCOPG2_TESTDB_HOST": target.host,
        "PSYCOPG2_TESTDB_PORT": str(target.port),
        "PSYCOPG2_TESTDB_USER": target.superuser.user,
        "PSYCOPG2_TESTDB_PASSWORD": target.superuser.password,
    }
    return _pytest(place, target, work, environment, ["tests"], database)


def sqlalchemy(place, target, driver="psycopg"):
    """SQLAlchemy's suite for dialects, and its own tests of the PostgreSQL dialect."""
    source = place.source("sqlalchemy")
    database = "sqlalchemy_suite"
    target.fresh_database(database, target.superuser.user)
    target.sql("CREATE SCHEMA test_schema;\nCREATE SCHEMA test_schema_2;\nCREATE EXTENSION hstore;\n"
               "CREATE EXTENSION citext;\nALTER DATABASE sqlalchemy_suite SET timezone TO 'UTC'", database)
    login = target.superuser
    url = f"postgresql+{driver}://{login.user}:{login.password}@{target.host}:{target.port}/{database}"
    environment = target.environment(login, database)
    arguments = ["--dburi", url, "-p", "no:cacheprovider", "test/dialect/test_suite.py", "test/dialect/postgresql"]
    return _pytest(place, target, source, environment, arguments, database)


def sqlalchemy_asyncpg(place, target):
    """The same over asyncpg."""
    return sqlalchemy(place, target, "asyncpg")


def sqlalchemy_pg8000(place, target):
    """The same over pg8000."""
    return sqlalchemy(place, target, "pg8000")


def pg8000(place, target):
    """pg8000's tests; they use the database `postgres`, and put everything they make into transactions or drop it."""
    work = _tests_alone(place, "pg8000", "test")
    environment = target.environment(target.superuser, "postgres")
    # Log-ins under other rules of pg_hba.conf than the cluster's, the README, and how fast it is.
    ignored = ["--ignore=test/test_readme.py", *(f"--ignore=test/{kind}/auth" for kind in ("dbapi", "legacy", "native")),
               "--ignore-glob=*/test_benchmarks.py"]
    return _pytest(place, target, work, environment, ["test", *ignored], "pg8000_suite")


def pygresql(place, target):
    """PyGreSQL's tests, both of its interfaces."""
    work = _tests_alone(place, "pygresql", "tests")
    database = "pygresql_suite"
    target.fresh_database(database, target.superuser.user)
    target.sql("CREATE EXTENSION hstore", database)
    return _pytest(place, target, work, target.environment(target.superuser, database), ["tests"], database)


def alembic(place, target):
    """Alembic's tests that need a database."""
    source = place.source("alembic")
    database = "alembic_suite"
    target.fresh_database(database, target.superuser.user)
    target.sql("CREATE SCHEMA test_schema", database)
    login = target.superuser
    url = f"postgresql+psycopg2://{login.user}:{login.password}@{target.host}:{target.port}/{database}"
    arguments = ["--dburi", url, "--backend-only", "-p", "no:cacheprovider", "tests"]
    return _pytest(place, target, source, target.environment(login, database), arguments, database)


def pony(place, target):
    """Pony's tests."""
    work = place.source("pony")
    database, login = "pony_suite", target.superuser
    target.fresh_database(database, login.user)
    settings = place.directory / "pony.settings"
    settings.write_text(f"settings = dict(provider='postgres', host={target.host!r}, port={target.port}, "
                        f"user={login.user!r}, password={login.password!r}, database={database!r})\n")
    environment = target.environment(login, database) | {"pony_test_db": str(settings)}
    return _pytest(place, target, work, environment, ["pony/orm/tests"], database)


def _tests_alone(place, name, tests):
    """A copy of a driver's tests: beside its sources they would import those instead of the installed driver."""
    work = place.directory / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(place.source(name) / tests, work / tests)
    return work


# Django's test applications that live on the database.
DJANGO_APPS = """
basic queries aggregation aggregation_regress annotations transactions transaction_hooks backends postgres_tests
select_for_update select_related prefetch_related bulk_create get_or_create update delete delete_regress
expressions expressions_case expressions_window db_functions lookup many_to_many many_to_one one_to_one
introspection inspectdb schema migrations migrate_signals model_fields model_inheritance ordering raw_query
sessions_tests cache datetimes dates timezones constraints custom_managers defer distinct_on_fields
foreign_object from_db_value indexes known_related_objects nested_foreign_keys null_queries or_lookups
reverse_lookup save_delete_hooks serializers string_lookup test_utils unmanaged_models update_only_fields
view_tests xor_lookups auth_tests admin_views contenttypes_tests fixtures force_insert_update async generic_relations
generic_relations_regress m2m_through model_formsets multiple_database mutually_referential proxy_models
servers
""".split()

DJANGO_SETTINGS = """
DATABASES = {{alias: {{
    "ENGINE": "django.db.backends.postgresql", "HOST": {host!r}, "PORT": {port!r}, "USER": {user!r},
    "PASSWORD": {password!r}, "NAME": name, "TEST": {{"NAME": "test_" + name}},
}} for alias, name in [("default", "django_one"), ("other", "django_two")]}}
SECRET_KEY = "tests"
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""

DJANGO_LINE = re.compile(r"^(\w+) \(([\w.]+)\)(?:\n.*?)?$")


def django(place, target, apps=None):
    """Django's own tests, application by application, on databases that its runner makes and drops."""
    source = place.source("django")
    work = source / "tests"
    login = target.superuser
    (work / "pgweir_settings.py").write_text(
        DJANGO_SETTINGS.format(host=target.host, port=str(target.port), user=login.user, password=login.password))
    known = [app for app in apps or DJANGO_APPS if (work / app).is_dir()]
    environment = target.environment(login, "postgres") | {"PYTHONPATH": str(source)}
    for variable in ("PGUSER", "PGPASSWORD", "PGHOST", "PGPORT", "PGDATABASE"):
        environment.pop(variable)
    for name in ("test_django_one", "test_django_two"):
        target.drop_database(name)
    command = [str(place.python), "runtests.py", "--settings=pgweir_settings", "--parallel=1", "-v", "2", "--noinput",
               "--timing", *known]
    output = _output(command, work, environment)
    (place.directory / f"django-{target.name}.log").write_text(output)
    return _django_outcomes(output)


def _django_outcomes(output):
    """From unittest's verbose output: `name (path) ... ok`, with a docstring's line in between at times."""
    outcomes, current = {}, None
    for line in output.splitlines():
        named = re.match(r"^(\w+) \(([\w.]+)\)", line)
        if named:
            current = f"{named.group(2)}"
        verdict = re.search(r"\.\.\. (?:.*?)(ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)$", line)
        if not verdict and current and line in ("ok", "FAIL", "ERROR"):
            verdict = re.match(r"^(ok|FAIL|ERROR)$", line)
        if current and verdict:
            word = verdict.group(1)
            if word in ("ok", "expected failure"):
                outcomes[current] = Outcome(PASSED)
            elif word.startswith("skipped"):
                outcomes[current] = Outcome(SKIPPED)
            else:
                outcomes[current] = Outcome(FAILED, word)
            current = None
    # Why: the last line of each traceback.
    for block in re.split(r"^={70}$", output, flags=re.M)[1:]:
        head = re.search(r"^(?:FAIL|ERROR): \w+ \(([\w.]+)\)", block, flags=re.M)
        if not head:
            continue
        lines = [line for line in block.split("-" * 70)[1].strip().splitlines() if line] if "-" * 70 in block else []
        last = next((line for line in reversed(lines) if re.match(r"^[\w.]+(Error|Exception|Warning|Failure)\b", line)),
                    lines[-1] if lines else "")
        outcomes[head.group(1)] = Outcome(FAILED, last[:600])
    if not outcomes:
        raise RuntimeError(f"Django's runner told nothing: {output[-800:]}")
    return outcomes


def lib_pq(place, target):
    """Go's lib/pq, from Debian's package of its sources."""
    source = Path("/usr/share/gocode/src/github.com/lib/pq")
    if not source.is_dir():
        raise RuntimeError("golang-github-lib-pq-dev is not installed")
    database = "pqgotest"
    target.fresh_database(database, target.superuser.user)
    environment = target.environment(target.superuser, database) | {
        "PGSSLMODE": "disable", "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(place.directory / "gocache"), "PQTEST_BINARY_PARAMETERS": "no",
    }
    environment.pop("PGCONNECT_TIMEOUT")
    output = _output(["go", "test", "-vet=off", "-json", "-timeout", "10m", "."], source, environment)
    outcomes, said = {}, {}
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        name, action = event.get("Test"), event.get("Action")
        if name and action == "output":
            said[name] = said.get(name, "") + event["Output"]
        elif name and action in ("pass", "fail", "skip"):
            verdict = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED}[action]
            text = " ".join(said.get(name, "").split())[:600] if verdict == FAILED else ""
            outcomes[name] = Outcome(verdict, text)
        elif name and action == "run":
            outcomes[name] = Outcome(FAILED, "hangs, or its program died")
    target.drop_database(database)
    if not outcomes:
        raise RuntimeError(f"go test told nothing: {output[-800:]}")
    return outcomes


SUITES = {
    "asyncpg": asyncpg,
    "psycopg2": psycopg2,
    "SQLAlchemy (psycopg)": sqlalchemy,
    "SQLAlchemy (asyncpg)": sqlalchemy_asyncpg,
    "SQLAlchemy (pg8000)": sqlalchemy_pg8000,
    "pg8000": pg8000,
    "PyGreSQL": pygresql,
    "Alembic": alembic,
    "Pony": pony,
    "Django": django,
    "lib/pq": lib_pq,
}


def _pytest(place, target, work, environment, arguments, database):
    report = place.directory / f"{database}-{target.name}.xml"
    report.unlink(missing_ok=True)
    command = [str(place.python), "-m", "pytest", "-q", "--tb=line", f"--junit-xml={report}", *arguments]
    output = _output(command, work, environment)
    (place.directory / f"{database}-{target.name}.log").write_text(output)
    target.drop_database(database)
    if not report.exists():
        raise RuntimeError(f"pytest told nothing: {output[-800:]}")
    return from_junit(report)


def _output(command, work, environment):
    try:
        done = subprocess.run(command, cwd=work, env=environment, text=True, errors="replace", timeout=SUITE_TIME_MAX,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        return done.stdout
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
        return text.decode(errors="replace") if isinstance(text, bytes) else text
