#!/usr/bin/env bash
# Ends the engines that docker-up.sh started below DIR, and removes all that they made: containers first, then the
# processes by their pids, mounts, firewall rules, bridges, files. Running it twice, or on a half-dead engine, is fine.
#
#   docker-down.sh DIR
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/docker-lib.sh
. "$here/docker-lib.sh"

main() {
  [ $# -eq 1 ] || die "usage: docker-down.sh DIR"
  [ -d "$1" ] || return 0
  local root dir
  root=$(cd "$1" && pwd -P)
  for dir in "$root"/[0-9]*; do
    [ -d "$dir" ] && engine_down "$root" "${dir##*/}"
  done
  rmdir "$root" 2>/dev/null || say "$root is kept: there is more in it than engines"
}

main "$@"
