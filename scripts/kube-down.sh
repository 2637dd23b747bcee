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

# Directories that had to be there for a node's own to be mounted over. Another checkout's clusters may have theirs mounted
# there too, and would lose them: then it is for that one to remove them. Whoever has put something there keeps it.
remove_mount_points() {
  local other
  [ -s "$kube_state/made" ] || return 0
  other=$(find /tmp -maxdepth 1 -name 'bp-kube-*' ! -path "$kube_state" | head -n 1)
  if [ -n "$other" ]; then
    cat "$kube_state/made" >>"$other/made"
  else
    sort -ru "$kube_state/made" | xargs -r rmdir --ignore-fail-on-non-empty
  fi
}

main() {
  [ $# -eq 0 ] || die "usage: kube-down.sh"
  need_root
  one_at_a_time "$@"
  local name
  for name in "${KUBE_NODES[@]}"; do node_down "$name"; done
  bridge_down
  remove_mount_points
  rm -rf "$kube_state"
}

main "$@"
