#!/bin/sh
# Installs the drivers that the tests use into target/drivers, from their registries.
# Usage: tests/drivers/install.sh   (from anywhere; does nothing when they are there)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
place=${CARGO_TARGET_DIR:-$root/target}/drivers
wanted='psycopg[binary]==3.3.9 asyncpg==0.31.0 pg@8.16.3'
[ "$(cat "$place/installed" 2>/dev/null)" = "$wanted" ] && exit 0

mkdir -p "$place"
# Debian's own interpreter where there is one: other ones may lack ensurepip.
python=python3
[ -x /usr/bin/python3 ] && python=/usr/bin/python3
"$python" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet 'psycopg[binary]==3.3.9' 'asyncpg==0.31.0'
npm install --silent --no-audit --no-fund --prefix "$place" 'pg@8.16.3'
printf '%s' "$wanted" > "$place/installed"
