#!/bin/sh
# The first time it makes a database of POSTGRES_USER in PGDATA; what is in a volume already is used as it is.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  secret=$(mktemp)
  printf '%s' "$POSTGRES_PASSWORD" >"$secret"
  initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$secret" --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C
  rm "$secret"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  echo "create database \"$POSTGRES_USER\"" | postgres --single -D "$PGDATA" postgres >/dev/null
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
