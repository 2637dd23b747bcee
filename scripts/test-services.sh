#!/usr/bin/env bash
# The tests that need MariaDB and BIND: a server of each of our own, with fresh data, on free ports of loopback, then the
# tests that have `services` in their names. Both end with this script, however it ends. Root is not needed.
#
#   test-services.sh COMMAND…    runs another command while they are up
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
export PATH="$PATH:/usr/sbin:/sbin"

work=$(mktemp -d)
pids=()

finish() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

# Neither server runs as root; Debian's packages bring a user for each.
as() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"; else "$@"; fi
}

# The same in the place of this shell: what is put into the background is the server itself, and ends when it is told to.
become() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"; else exec "$@"; fi
}
own() { [ "$(id -u)" != 0 ] || chown -R "$1" "$2"; }

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# From then on it is told apart from a server of this machine by its port alone.
mariadb_up() {
  local data=$work/mariadb port password
  port=$(free_port)
  password=$(openssl rand -hex 12)
  mkdir "$data"
  own mysql "$data"
  as mysql mariadb-install-db --no-defaults --datadir="$data/data" --auth-root-authentication-method=normal \
    --skip-test-db >"$work/mariadb.log" 2>&1 || die "mariadb-install-db failed: $(tail -5 "$work/mariadb.log")"
  become mysql mariadbd --no-defaults --datadir="$data/data" --socket="$data/sock" --pid-file="$data/pid" --skip-name-resolve \
    --bind-address=127.0.0.1 --port="$port" --innodb-flush-method=fsync >>"$work/mariadb.log" 2>&1 &
  pids+=($!)
  wait_for 60 mariadb-admin --no-defaults --socket="$data/sock" --user=root ping >/dev/null 2>&1 ||
    die "MariaDB does not answer: $(tail -5 "$work/mariadb.log")"
  mariadb --no-defaults --socket="$data/sock" --user=root <<SQL
CREATE USER 'panel'@'127.0.0.1' IDENTIFIED BY '$password';
GRANT ALL PRIVILEGES ON *.* TO 'panel'@'127.0.0.1' WITH GRANT OPTION;
SQL
  export BADGER_TEST_MYSQL="127.0.0.1 $port panel $password"
}

# A zone that the key `panel` may change, and one that it may not.
bind_up() {
  local data=$work/bind port secret
  port=$(free_port)
  secret=$(openssl rand -base64 32)
  mkdir "$data"
  for zone in game.test closed.test; do
    # shellcheck disable=SC2016 # $TTL is for BIND
    printf '$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n' >"$data/$zone"
  done
  cat >"$data/named.conf" <<CONF
options {
  directory "$data"; pid-file "$data/pid"; session-keyfile "$data/session.key"; managed-keys-directory "$data";
  listen-on port $port { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; allow-transfer { none; };
};
controls { };
key panel { algorithm hmac-sha256; secret "$secret"; };
zone game.test { type primary; file "$data/game.test"; allow-update { key panel; }; };
zone closed.test { type primary; file "$data/closed.test"; allow-update { none; }; };
CONF
  own bind "$data"
  become bind named -f -n 1 -c "$data/named.conf" >"$work/bind.log" 2>&1 &
  pids+=($!)
  wait_for 30 dig +tcp +time=1 +tries=1 -p "$port" @127.0.0.1 game.test SOA >/dev/null ||
    die "BIND does not answer: $(tail -5 "$work/bind.log")"
  export BADGER_TEST_DNS="127.0.0.1:$port panel $secret"
}

main() {
  chmod 0755 "$work"
  mariadb_up
  bind_up
  if [ $# -gt 0 ]; then "$@"; else cargo test --locked --no-fail-fast --workspace --lib --test api -- --ignored services; fi
}

main "$@"
