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

# Where things are kept that are slow to make and the same each time.
cache_dir() { printf '%s/badgerpanel\n' "${XDG_CACHE_HOME:-$HOME/.cache}"; }
