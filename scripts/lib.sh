# shellcheck shell=bash
# What the scripts share. Sourced, never run.

# All talk goes to standard error: standard output is for what a caller reads.
say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() {
  say "$*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# wait_for SECONDS COMMAND…: polls until the command succeeds; fails when the time is over.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# The debug executable, with the features that the tests are compiled with: `cargo build` alone unifies others and would
# compile every dependency again.
debug_build() { cargo test --locked --workspace --test e2e --no-run >&2; }

# Where things are kept that are slow to make and the same each time.
cache_dir() { printf '%s/badgerpanel\n' "${XDG_CACHE_HOME:-$HOME/.cache}"; }

# A busybox that needs no library, and so runs in an image that has none.
busybox_is_static() { have busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

# busybox_root DIR: a root file system of busybox alone, under all the names that it answers to.
busybox_root() {
  local applet
  install -D -m 0755 "$(command -v busybox)" "$1/bin/busybox"
  install -d -m 1777 "$1/tmp"
  for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
  done
}

# Where the programs of PostgreSQL's server are; Debian has them in no PATH.
postgres_bin() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    [ ! -x "$dir/initdb" ] || { printf '%s\n' "$dir"; return; }
  done
  dir=$(command -v initdb) && dirname "$dir"
}

# Debian's package would make and start a server of its own, which nobody has asked for.
postgres_without_a_cluster() {
  [ -e /etc/postgresql-common/createcluster.conf ] && return
  install -d /etc/postgresql-common
  printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
}
