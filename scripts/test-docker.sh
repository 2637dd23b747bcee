#!/usr/bin/env bash
# The tests that need Docker: two engines of our own, the image of a real game server, then the tests named docker.
# Takes root. The engines end with this script, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# Short, because of the sockets below it; one per checkout, so that a run after a killed one finds what that one left.
engines=/tmp/bp-docker-$(pwd -P | sha256sum | cut -c1-8)

main() {
  local hosts
  trap 'scripts/docker-down.sh "$engines"' EXIT
  hosts=$(scripts/docker-up.sh "$engines" 2)
  # shellcheck disable=SC2086 # one host a word
  BADGER_TEST_IMAGE=$(scripts/image-minetest.sh $hosts)
  export BADGER_TEST_IMAGE
  BADGER_TEST_DOCKER_HOSTS=$(tr '\n' ' ' <<<"$hosts")
  export BADGER_TEST_DOCKER_HOSTS
  # For tests that need only one.
  export BADGER_TEST_DOCKER=1 DOCKER_HOST=${BADGER_TEST_DOCKER_HOSTS%% *}
  cargo test --locked --no-fail-fast -p agent -p badger --lib --test e2e -- --ignored docker
}

main "$@"
