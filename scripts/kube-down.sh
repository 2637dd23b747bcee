#!/usr/bin/env bash
# Ends the clusters of kube-up.sh and removes all that they made: processes, control groups, networks, firewall rules,
# files. Running it twice, or on half a cluster, is fine.
#
#   kube-down.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/kube-lib.sh
. "$here/kube-lib.sh"

# Directories that had to be there for a node's own to be mounted over. Whoever has put something there keeps it.
remove_mount_points() {
  [ -s "$kube_state/made" ] || return 0
  sort -ru "$kube_state/made" | xargs -r rmdir --ignore-fail-on-non-empty
}

main() {
  [ $# -eq 0 ] || die "usage: kube-down.sh"
  need_root
  local name
  for name in "${KUBE_NODES[@]}"; do node_down "$name"; done
  bridge_down
  remove_mount_points
  rm -rf "$kube_state"
}

main "$@"
