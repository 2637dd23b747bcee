#!/usr/bin/env bash
# The tests that need Docker: two engines of our own, the image of a real game server, then the tests named docker.
# Takes root. The engines end with this script, however it ends; BADGER_TEST_KEEP=1 leaves them for the next run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=scripts
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/kube-lib.sh
. scripts/kube-lib.sh
# shellcheck source=scripts/test-lib.sh
. scripts/test-lib.sh

main() {
  trap 'end_unless_kept engines_down' EXIT
  engines_up
  # What goes between an engine and a cluster is named after both, and needs both.
  # They wait for a game most of the time, and each has a house of its own.
  cargo test --locked --no-fail-fast --workspace --lib --test e2e -- --ignored docker --skip kubernetes --test-threads 4
}

main "$@"
