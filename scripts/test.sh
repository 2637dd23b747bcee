#!/usr/bin/env bash
# Everything a change must pass, in the order in which it fails fastest; ends with one line of counts.
#
# A test that this machine cannot run is said in one line and counted as skipped, never as passed. Docker and Kubernetes
# may only be skipped where nobody could expect them: not in CI, and not as root on Debian, where installing what they
# take is one command.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

passed=0 failed=0 skipped=0
failures=() # names of phases
last=ok     # how the last phase ended

logs=$(mktemp -d)

# Engines and clusters come up once for all phases that use them, and end here. Somebody who set BADGER_TEST_KEEP keeps them.
finish() {
  rm -rf "$logs"
  [ -z "${ours:-}" ] || scripts/test-kubernetes.sh --down
}
trap finish EXIT

# phase NAME COMMAND…: runs it with its output on the screen and in $logs/NAME; goes on after a failure, so that one
# run shows everything that is wrong.
phase() {
  local name=$1 started=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@" 2>&1 | tee "$logs/$name"; then
    last=ok
    printf -- '-- %s: ok, %d s\n' "$name" "$((SECONDS - started))"
  else
    last=failed
    failures+=("$name")
    printf -- '-- %s: FAILED, %d s\n' "$name" "$((SECONDS - started))"
  fi
}

# A check without a test runner counts as one test.
check() {
  phase "$@"
  if [ "$last" = failed ]; then failed=$((failed + 1)); else passed=$((passed + 1)); fi
}

skip() {
  skipped=$((skipped + 1))
  printf '\n== %s\n-- skipped: %s\n' "$1" "$2"
}

# sum NAME WORD: adds up what cargo says in its lines "test result: ok. 3 passed; 0 failed; 1 ignored; …".
sum() { sed -n "s/^test result: .* \([0-9]*\) $2.*/\1/p" "$logs/$1" | awk '{n += $1} END {print n + 0}'; }

count() {
  passed=$((passed + $(sum "$1" passed)))
  failed=$((failed + $(sum "$1" failed)))
  # A test binary that did not build or was killed has no line at all; it must not look like nothing happened.
  if [ "$last" = failed ] && [ "$(sum "$1" failed)" = 0 ]; then failed=$((failed + 1)); fi
}

engines_expected() { [ "${CI:-}" = true ] || { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; }; }

# A filter that matches no test any more would pass for ever.
ran_something() {
  [ "$last" = ok ] && [ $(($(sum "$1" passed) + $(sum "$1" failed))) = 0 ] || return 0
  printf -- '-- %s: FAILED, no test has this in its name\n' "$1"
  failures+=("$1")
  failed=$((failed + 1))
}

# Tests that are ignored by default because they need something: run here if it is there, else left as skipped.
special() {
  local name=$1 left
  shift
  phase "$name" "$@"
  count "$name"
  ran_something "$name"
  left=$((skipped - $(sum "$name" passed) - $(sum "$name" failed)))
  skipped=$((left > 0 ? left : 0))
}

# What the phases below take, in one line.
lacking() {
  local what
  what=$({ [ "$(id -u)" = 0 ] || echo root; scripts/install-deps.sh --missing "$1"; } | paste -sd, | sed 's/,/, /g')
  printf 'it takes %s here (scripts/install-deps.sh, then make test-%s)\n' "${what:-Debian 12}" "${1,,}"
}

# The tests of the panel once more, on another database: not special, but not everywhere either.
postgres_tests() {
  if ! engines_expected && ! postgres_bin >/dev/null; then
    printf '\n== postgres\n-- skipped: it takes PostgreSQL here (scripts/install-deps.sh, then make test-postgres)\n'
    return
  fi
  phase postgres scripts/test-postgres.sh
  count postgres
  special postgres-moves scripts/test-postgres.sh \
    cargo test --locked --no-fail-fast --workspace --test e2e -- --ignored --test-threads 1 postgres
}

# The API against its own document. The fuzzer comes from PyPI.
openapi_tests() {
  if ! have python3 || ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    skip openapi "it takes python3 with venv here (scripts/install-deps.sh, then make test-openapi)"
    return
  fi
  check openapi scripts/test-openapi.sh
  if postgres_bin >/dev/null; then check openapi-on-postgres env BADGER_FUZZ_SECONDS=60 scripts/test-postgres.sh scripts/test-openapi.sh; fi
}

# It takes a Node.js that Debian 12 does not have; where everything else is expected that one is, too.
web_tests() {
  if engines_expected || { have node && have npm && have chromium; }; then
    phase web scripts/test-web.sh
    count web
  else
    skip web "the web interface's tests take Node.js 20.19, npm and Chromium here"
  fi
}

special_tests() {
  web_tests
  postgres_tests
  openapi_tests
  if [ "$(id -u)" = 0 ]; then
    special root cargo test --locked --workspace --test e2e -- --ignored as_root
  else
    printf '\n== root\n-- skipped: tests that mount a small file system take root\n'
  fi
  if engines_expected || have go; then
    special storage scripts/test-backups.sh
  else
    printf '\n== storage\n-- skipped: %s\n' "$(lacking backups)"
  fi
  if engines_expected; then
    [ -n "${BADGER_TEST_KEEP:-}" ] || ours=yes
    export BADGER_TEST_KEEP=1
    special services scripts/test-services.sh
    special docker scripts/test-docker.sh
    special kubernetes scripts/test-kubernetes.sh
  else
    printf '\n== services\n-- skipped: %s\n' "$(lacking services)"
    printf '\n== docker\n-- skipped: %s\n' "$(lacking Docker)"
    printf '\n== kubernetes\n-- skipped: %s\n' "$(lacking Kubernetes)"
  fi
}

main() {
  check format cargo fmt --all --check
  if have shellcheck; then check shellcheck shellcheck -x scripts/*.sh scripts/kube/*.sh .ci/run deploy/images/*/*.sh; else skip shellcheck "it is not installed"; fi
  # First, because it is built into the executable that everything below tries.
  phase interface scripts/build-web.sh --if-possible
  check lints cargo clippy --workspace --all-targets --locked -- -D warnings
  phase tests cargo test --workspace --locked --no-fail-fast
  count tests
  skipped=$((skipped + $(sum tests ignored)))
  special_tests
  printf '\n'
  [ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[*]}"
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ ${#failures[@]} = 0 ]
}

main "$@"
