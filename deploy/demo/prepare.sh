#!/bin/sh
# Installs what is missing for the demo, its check, the tests, the benches, the drivers' comparison,
# PostgreSQL's own suites, the applications, the failovers by Patroni or the fuzz targets, from Debian's
# (or Ubuntu's) packages.
# Usage: deploy/demo/prepare.sh demo|check|test|bench|drivers|regress|apps|patroni|fuzz
#
# Nothing is installed, and no network is used, when everything is there. Elsewhere than on
# Debian it says what is missing and stops.
set -eu
purpose=${1:?demo, check, test, bench, drivers, regress, apps, patroni or fuzz}
root=$(cd "$(dirname "$0")/../.." && pwd)
missing=''
policy=''

have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
    [ -n "${PGWEIR_PG_BIN:-}" ] && return 0
    have initdb && return 0
    for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
        [ -x "$bin/initdb" ] && return 0
    done
    return 1
}

# The sample application's framework needs a newer Python than the oldest that is about. Debian's
# own interpreter is preferred: it is the one whose venv its packages complete.
have_python() {
    for python in /usr/bin/python3 /usr/bin/python3.11 python3; do
        $python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1 && return 0
    done
    return 1
}

have cc || missing="$missing gcc libc6-dev"
have_postgres || missing="$missing postgresql"
if ! have_python; then
    missing="$missing python3 python3-venv"
    # There, python3 is older, and a newer one is a package beside it.
    if grep -qs '^VERSION_ID="22.04"$' /etc/os-release; then
        missing="$missing python3.11 python3.11-venv"
    fi
fi
if [ "$purpose" = fuzz ]; then
    # bindgen and libFuzzer.
    [ -e /usr/lib/llvm-14/lib/libclang.so ] || ls /usr/lib/llvm-*/lib/libclang*.so >/dev/null 2>&1 || missing="$missing libclang-dev"
    have c++ || missing="$missing g++"
fi
if [ "$purpose" = regress ]; then
    # pg_regress comes with the client, the headers of the server do not.
    ls /usr/include/postgresql/*/server/postgres.h >/dev/null 2>&1 ||
        missing="$missing postgresql-server-dev-all"
    have xz || missing="$missing xz-utils"
fi
if [ "$purpose" = apps ]; then
    [ -x /usr/sbin/pdns_server ] || missing="$missing pdns-server"
    [ -e /usr/share/pdns-backend-pgsql/schema/schema.pgsql.sql ] || missing="$missing pdns-backend-pgsql"
    [ -d /usr/share/redmine ] || missing="$missing redmine"
    [ -e /usr/share/doc/redmine-pgsql ] || missing="$missing redmine-pgsql"
    have puma || missing="$missing puma"
    have redis-server || missing="$missing redis-server"
    have node || missing="$missing nodejs"
    have npm || missing="$missing npm"
fi
if [ "$purpose" = bench ]; then
    # Servers are not on an ordinary user's PATH.
    [ -x /usr/sbin/pgbouncer ] || have pgbouncer || missing="$missing pgbouncer"
    [ -x /usr/sbin/haproxy ] || have haproxy || missing="$missing haproxy"
fi
if [ "$purpose" = patroni ]; then
    have patroni || missing="$missing patroni"
    have etcd || missing="$missing etcd-server"
    [ -x /usr/sbin/haproxy ] || have haproxy || missing="$missing haproxy"
fi
if [ "$purpose" = drivers ]; then
    have go || missing="$missing golang-go"
    [ -d /usr/share/gocode/src/github.com/lib/pq ] || missing="$missing golang-github-lib-pq-dev"
    have ruby && ruby -e 'require "pg"' 2>/dev/null || missing="$missing ruby ruby-pg"
    perl -MDBD::Pg -e1 2>/dev/null || missing="$missing libdbd-pg-perl"
fi
if [ "$purpose" = test ] || [ "$purpose" = drivers ]; then
    # A name server for the tests' own names; on Debian's PATH for users it is not.
    [ -x /usr/sbin/dnsmasq ] || have dnsmasq || missing="$missing dnsmasq-base"
    have node || missing="$missing nodejs"
    have npm || missing="$missing npm"
    have prometheus && have promtool || missing="$missing prometheus"
    have prometheus-pgbouncer-exporter || missing="$missing prometheus-pgbouncer-exporter"
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
    have javac || missing="$missing default-jdk-headless"
    [ -e /usr/share/java/postgresql.jar ] || missing="$missing libpostgresql-jdbc-java"
fi

if [ "$purpose" = check ] || [ "$purpose" = test ]; then
    # On Debian a browser can be had as a package. Ubuntu's package of that name only fetches a
    # snap, which needs a running snapd: there the browser's tests run if somebody has installed
    # one, and say so if they are left out.
    if ! have "${CHROMIUM:-chromium}" || ! have "${CHROMEDRIVER:-chromedriver}"; then
        if grep -qs '^ID=debian$' /etc/os-release; then missing="$missing chromium chromium-driver"; fi
    fi
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else
        echo "Please install as root:$missing" >&2
        exit 1
    fi
}

if [ -n "$missing" ]; then
    if ! have apt-get; then
        echo "Missing, and there is no apt-get here to install it:$missing" >&2
        exit 1
    fi
    echo "Installing$missing"
    # The packaged server would otherwise start a database of its own on port 5432, which
    # nobody asked for. Debian's documented switch for that, put back afterwards.
    switch=/etc/postgresql-common/createcluster.conf
    ours=''
    if [ ! -e $switch ]; then
        ours=yes
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee $switch >/dev/null
    fi
    if [ "$purpose" = apps ]; then
        # Nor may these packages set up databases of their own.
        for package in pdns-backend-pgsql redmine/instances/default; do
            echo "${package%%/*} $package/dbconfig-install boolean false" | as_root debconf-set-selections
        done
    fi
    if [ "$purpose" = apps ] || [ "$purpose" = patroni ]; then
        # Nor may they serve: they are run by the walks and the trials.
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
            as_root chmod +x /usr/sbin/policy-rc.d
            policy=ours
        fi
    fi
    install='apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold'
    quiet='env DEBIAN_FRONTEND=noninteractive'
    # Package lists may be absent or old: refreshed once, at first or on failure.
    # shellcheck disable=SC2086
    as_root $quiet $install $missing >/dev/null 2>&1 || {
        as_root apt-get update -qq
        as_root $quiet $install $missing >/dev/null
    }
    [ -z "$policy" ] || as_root rm /usr/sbin/policy-rc.d
    if [ -n "$ours" ] && [ -e /usr/share/postgresql-common/createcluster.conf ]; then
        as_root cp /usr/share/postgresql-common/createcluster.conf $switch
    fi
fi

if [ "$purpose" = test ]; then
    "$root/tests/drivers/install.sh"
fi
