#!/usr/bin/env bash
# The tests of the panel on PostgreSQL: a server of our own, then the tests of the database, of the API and of sagas'
# store, the same ones that run on SQLite.
#
#   test-postgres.sh             these tests
#   test-postgres.sh COMMAND…    COMMAND with the variables of the tests; `psql "$BADGER_TEST_POSTGRES"` to look around
#
# The server takes Debian's packages, which root installs here where they are missing; it runs as an unprivileged user,
# below a temporary directory, on a free port of loopback, and ends with this script, however that ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# The server refuses to run as root.
unprivileged() {
  if [ "$(id -u)" != 0 ]; then
    "$@"
  elif id postgres >/dev/null 2>&1; then
    runuser -u postgres -- "$@"
  else
    runuser -u nobody -- "$@"
  fi
}

install_it() {
  if [ "$(id -u)" != 0 ] || ! have apt-get; then die "PostgreSQL is not installed (Debian: apt-get install postgresql)"; fi
  scripts/install-deps.sh
}

# control WORD…: pg_ctl on our server.
control() { unprivileged "$bin/pg_ctl" -s -w -t 60 -D "$dir/data" -l "$dir/log" "$@"; }

down() {
  [ ! -e "$dir/data/postmaster.pid" ] || control stop -m immediate || say "the server did not stop"
  rm -rf "$dir"
}

# A server that has just been made, without fsync: nothing of it is to survive. Its port stays, because tests stop and
# start it.
up() {
  local port password attempt
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  install -d -m 0700 "$dir"
  printf '%s\n' "$password" >"$dir/password"
  [ "$(id -u)" != 0 ] || chown -R "$(unprivileged id -un)" "$dir"
  # Sorted as in a book and not as bytes: what depends on the order of texts shall be seen here.
  unprivileged "$bin/initdb" -D "$dir/data" -U badger --auth=scram-sha-256 --pwfile="$dir/password" --encoding=UTF8 \
    --locale=C --locale-provider=icu --icu-locale=en --no-sync >"$dir/initdb.txt" 2>&1 || die "initdb: $(tail -3 "$dir/initdb.txt")"
  for attempt in 1 2 3 4 5 6 7 8; do
    port=$((20000 + RANDOM % 10000))
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
max_connections = 400
fsync = off
full_page_writes = off
autovacuum_naptime = 10s
CONF
    if control start >/dev/null; then break; fi
    [ "$attempt" != 8 ] || die "the server does not start: $(tail -3 "$dir/log")"
  done
  cat >"$dir/control" <<CONTROL
#!/bin/sh
# control stop|start
exec $([ "$(id -u)" != 0 ] || printf 'runuser -u %s -- ' "$(unprivileged id -un)")$bin/pg_ctl -s -w -t 60 -D $dir/data -l $dir/log -m fast "\$@"
CONTROL
  chmod 0755 "$dir" "$dir/control"
  # The password is not in the URL, so that the tests are users of the other ways.
  export PGPASSWORD=$password BADGER_TEST_POSTGRES=postgres://badger@127.0.0.1:$port/postgres
  export BADGER_TEST_POSTGRES_CONTROL=$dir/control
}

tests() {
  local failed=0
  cargo test --locked --no-fail-fast --workspace --lib db:: || failed=1
  cargo test --locked --no-fail-fast --workspace --test api || failed=1
  return "$failed"
}

main() {
  local run=("$@")
  [ $# != 0 ] || run=(tests)
  bin=$(postgres_bin) || { install_it && bin=$(postgres_bin); } || die "there is no initdb after the installation"
  dir=/tmp/bp-postgres-$$
  trap down EXIT
  up
  "${run[@]}"
}

main "$@"
