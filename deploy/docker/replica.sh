#!/bin/bash
# A streaming replica of `primary`: copied once, then started as any Postgres.
set -euo pipefail
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
    chown postgres "$data" && chmod 700 "$data"
    until PGPASSWORD=replicator gosu postgres pg_basebackup -h primary -U replicator -D "$data" -R -X stream -c fast; do
        find "$data" -mindepth 1 -delete
        sleep 1
    done
fi
exec gosu postgres postgres
