#!/usr/bin/env bash
# The tests that need Kubernetes: two clusters of our own, two engines of Docker because servers move between both, our
# images and a real game server's in all of them, then the tests named kubernetes.
#
#   test-kubernetes.sh               the tests; with BADGER_TEST_THOROUGH=1 also those that kill every part in every step
#   test-kubernetes.sh --smoke       only whether the clusters are what the tests expect (kube/smoke.sh), without cargo's
#   test-kubernetes.sh COMMAND…      COMMAND with the variables of the tests; `bash` to try things by hand
#   test-kubernetes.sh --down        only what comes last: ends what a run left with BADGER_TEST_KEEP
#
# Takes root. Clusters and engines end with this script, however it ends; BADGER_TEST_KEEP=1 leaves them for the next run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=scripts
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/kube-lib.sh
. scripts/kube-lib.sh
# shellcheck source=scripts/test-lib.sh
. scripts/test-lib.sh

# Engines last: their files take the longest, and they may run already for somebody else.
down() {
  [ -z "${archives:-}" ] || rm -rf "$archives"
  end_unless_kept clusters_down
  end_unless_kept engines_down
}

# All wait for the clusters most of the time, and so run beside each other: those of the objects, those with a server of
# their own at the shared site, three at once. What kills parts of a cluster or configures it comes last and one by one;
# its second thread waits for the first one's end, and so keeps the site up between the two.
tests() {
  local objects e2e=(cargo test --locked --no-fail-fast --workspace --test e2e -- --ignored) thorough=(--skip thorough) failed=0
  # Every part killed in every phase takes half an hour more.
  [ -z "${BADGER_TEST_THOROUGH:-}" ] || thorough=()
  cargo test --locked --no-run --workspace --lib --test e2e
  cargo test --locked --no-fail-fast --workspace --lib -- --ignored kubernetes >"$archives/objects.txt" 2>&1 &
  objects=$!
  "${e2e[@]}" kubernetes:: --skip kubernetes::alone "${thorough[@]}" --test-threads 3 || failed=1
  wait "$objects" || failed=1
  cat "$archives/objects.txt"
  "${e2e[@]}" kubernetes::alone "${thorough[@]}" --test-threads 2 || failed=1
  return "$failed"
}

main() {
  local run=("$@")
  case ${1:-} in
    '') run=(tests) ;;
    --smoke) run=(scripts/kube/smoke.sh) ;;
  esac
  need_root
  if [ "${1:-}" = --down ]; then
    BADGER_TEST_KEEP='' down
    return
  fi
  archives=$(mktemp -d)
  trap down EXIT
  images_of_ours "$archives"
  engines_up
  clusters_up "$archives"
  "${run[@]}"
}

main "$@"
