#!/usr/bin/env bash
# The web interface: types, lints, unit tests, the build, then Debian's Chromium against a real panel with two daemons.
# Ends with the line that test.sh counts. With --screenshots it makes the pictures of the user guide instead of testing.
# BADGER=path takes that executable; else a debug build with the interface inside is made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# Installed where that is one command; elsewhere it is said what is missing.
install_chromium() {
  have chromium && return 0
  if [ "$(id -u)" != 0 ] || [ ! -e /etc/debian_version ]; then die "it takes Chromium"; fi
  say "installing Chromium"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
}

# The runners' own colours would hide their counts.
export NO_COLOR=1 FORCE_COLOR=0 CI=${CI:-false}

install_chromium
scripts/build-web.sh --dependencies
npm --prefix web run --silent api
if [ "${1:-}" != --screenshots ]; then
  npm --prefix web run --silent types
  npm --prefix web run --silent lint
  unit=$(npm --prefix web test --silent 2>&1) || { printf '%s\n' "$unit"; exit 1; }
  printf '%s\n' "$unit"
fi
scripts/build-web.sh
if [ -z "${BADGER:-}" ]; then
  debug_build
  BADGER=${CARGO_TARGET_DIR:-$PWD/target}/debug/badger
fi
export BADGER BADGER_CHROMIUM=${BADGER_CHROMIUM:-$(command -v chromium)}
if [ "${1:-}" = --screenshots ]; then
  npm --prefix web run --silent screenshots
  exit 0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
code=0
npm --prefix web run --silent browser 2>&1 | tee "$log" || code=$?
# Both runners' counts in cargo's words.
number() { sed -nE "s/.*[^0-9]([0-9]+) $1.*/\\1/p" | tail -1; }
passed=$(($(grep -E '^ *Tests ' <<<"$unit" | number passed) + $(grep -E '^ +[0-9]+ passed' "$log" | number passed || echo 0)))
failed=$(grep -E '^ +[0-9]+ failed' "$log" | number failed || true)
printf 'test result: %s. %d passed; %d failed; 0 ignored\n' "$([ "$code" = 0 ] && echo ok || echo FAILED)" "$passed" "${failed:-0}"
exit "$code"
