#!/usr/bin/env bash
# The API against its own document: a real panel with two daemons and a game server, and a fuzzer (schemathesis) that is
# driven by /api/v1/openapi.json. It finds no 5xx that the document does not name, and no status, content type or body of
# which the document does not tell. Bounded: about two minutes.
#
#   test-openapi.sh                    on SQLite
#   test-postgres.sh test-openapi.sh   on PostgreSQL
#   BADGER_FUZZ_SECONDS, BADGER_FUZZ_SEED: other than 120, and the one that a failure printed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# Pinned: a new release finds other things, and that should not happen to somebody's unrelated change.
version=4.32.5
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance

# The fuzzer in an environment of its own, made once.
fuzzer() {
  local home
  home=$(cache_dir)/schemathesis-$version
  if [ ! -e "$home/complete" ]; then
    have python3 || die "python3 is not installed"
    rm -rf "$home"
    python3 -m venv "$home" >&2 || die "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
    "$home/bin/pip" install -q "schemathesis==$version" >&2 || die "schemathesis $version cannot be installed from PyPI"
    touch "$home/complete"
  fi
  printf '%s\n' "$home/bin"
}

down() {
  if [ -n "${demo:-}" ] && kill -TERM "$demo" 2>/dev/null; then wait "$demo" || true; fi
  rm -rf "$dir"
}

# The demo's house: its first line of output says where it is.
up() {
  local line database=''
  debug_build
  # The password is in PGPASSWORD.
  [ -z "${BADGER_TEST_POSTGRES:-}" ] || database=$BADGER_TEST_POSTGRES
  # The limit of requests is not what is tested here.
  BADGER_DATABASE=$database BADGER_REQUESTS_PER_S=100000 \
    "${CARGO_TARGET_DIR:-target}/debug/badger" demo --keep --no-migrate --json >"$dir/demo.json" 2>"$dir/demo.txt" &
  demo=$!
  wait_for 120 test -s "$dir/demo.json" || die "the demo is not up: $(tail -5 "$dir/demo.txt")"
  line=$(head -1 "$dir/demo.json")
  BADGER_URL=$(jq_ url <<<"$line")
  BADGER_API_KEY=$(jq_ api_key <<<"$line")
  export BADGER_URL BADGER_API_KEY
}

# jq_ NAME: a field of the object on standard input; python3 is here anyway.
jq_() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

main() {
  local bin here
  bin=$(fuzzer)
  dir=$(mktemp -d)
  trap down EXIT
  up
  python3 scripts/openapi_hooks.py
  # In the temporary directory: the fuzzer keeps notes where it is started.
  here=$PWD && cd "$dir"
  PYTHONPATH=$here/scripts SCHEMATHESIS_HOOKS=openapi_hooks "$bin/schemathesis" --config-file "$here/scripts/schemathesis.toml" \
    run "$BADGER_URL/api/v1/openapi.json" -H "Authorization: Bearer $BADGER_API_KEY" --checks "$checks" \
    --phases examples,coverage,fuzzing --max-time "${BADGER_FUZZ_SECONDS:-120}" --max-examples 40 --workers 1 \
    --request-timeout 30 --no-shrink --generation-database none --output-truncate false --warnings off --no-color \
    ${BADGER_FUZZ_SEED:+--seed "$BADGER_FUZZ_SEED"}
}

main "$@"
