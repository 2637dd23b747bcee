#!/usr/bin/env bash
# Installs what the tests and benchmarks use beyond Rust and a C compiler, where it is missing and can be had.
#
#   install-deps.sh                    on Debian 12 with root: apt-get; elsewhere it only says what is missing
#   install-deps.sh --missing WORD     installs nothing; prints what is missing for that for which WORD stands, one a line
#
# Nothing of this is needed to build or for `badger demo`. What cannot be installed is named in one line each, together
# with what is skipped for want of it; that is no failure here: the tests that need it decide whether it is one there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# command → package (in brackets: not one of Debian 12) → what is skipped without it
NEEDS='
cc|gcc|everything: SQLite and the TLS provider are compiled from C
shellcheck|shellcheck|the lint of the scripts
curl|curl|the test of the documented call
python3|python3|comparison of trees, the fuzzer and the benchmarks
venv|python3-venv|the fuzzer of the API
rsync|rsync|the benchmark beside rsync
/usr/bin/time|time|peak memory in the benchmark
postgres|postgresql|the tests on PostgreSQL
node|[Node.js 20.19 or newer, https://nodejs.org]|the web interface
chromium|chromium|the tests of the web interface in a browser
dockerd|docker.io|the tests against Docker
iptables|iptables|the tests against Docker
ip|iproute2|the tests against Docker
debootstrap|debootstrap|the image of the real game server
containerd|containerd|the tests against Kubernetes
runc|runc|the tests against Kubernetes
/usr/lib/cni/bridge|containernetworking-plugins|the tests against Kubernetes
nft|nftables|the tests against Kubernetes
conntrack|conntrack|the tests against Kubernetes
openssl|openssl|the tests against Kubernetes
busybox|busybox-static|the tests against Kubernetes
mariadbd|mariadb-server|the tests against MariaDB and BIND (services)
named|bind9|the tests against MariaDB and BIND (services)
dig|bind9-dnsutils|the tests against MariaDB and BIND (services)
go|[Go 1.24 or newer, https://go.dev/dl]|the tests against Kubernetes and those of backups
'

present() {
  case $1 in
    busybox) busybox_is_static ;;
    venv) python3 -c 'import venv, ensurepip' 2>/dev/null ;;
    postgres) postgres_bin >/dev/null ;;
    *) have "$1" ;;
  esac
}

missing() {
  local command package skipped
  while IFS='|' read -r command package skipped; do
    [ -n "$command" ] || continue
    present "$command" || printf '%s|%s\n' "$package" "$skipped"
  done <<<"$NEEDS"
}

can_install() { [ "$(id -u)" = 0 ] && have apt-get; }

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  postgres_without_a_cluster
  apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are there"
  # One by one: a package that cannot be had must not take the others with it.
  local package
  for package in "$@"; do
    apt-get install -y -qq --no-install-recommends "$package" >&2 || say "apt-get cannot install $package"
  done
}

main() {
  # sbin is not in the PATH of every non-interactive shell.
  export PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"
  local wanted left
  if [ "${1:-}" = --missing ]; then
    missing | grep -F -e "${2:?WORD}" | cut -d'|' -f1 | tr -d '[]' | sort -u || true
    return 0
  fi
  wanted=$(missing | cut -d'|' -f1 | grep -v '^\[' | sort -u || true)
  if [ -n "$wanted" ] && can_install; then
    say "installing $(tr '\n' ' ' <<<"$wanted")"
    # shellcheck disable=SC2086 # a list of package names
    install_packages $wanted
  fi
  left=$(missing)
  [ -n "$left" ] || return 0
  while IFS='|' read -r package skipped; do
    say "not there: $package; without it: $skipped"
  done <<<"$left"
}

main "$@"
