#!/usr/bin/env bash
# The tests that need object storage: each starts a MinIO of its own on a free port of this machine and ends it again; this
# script gives them the executable. Takes no Docker; root only for the one whose disk is full.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
  local without=()
  [ "$(id -u)" = 0 ] || without=(--skip small_disk)
  BADGER_TEST_MINIO=$(scripts/minio.sh)
  export BADGER_TEST_MINIO
  cargo test --locked --no-fail-fast --workspace --test api --test e2e -- --ignored minio_ "${without[@]}"
}

main "$@"
