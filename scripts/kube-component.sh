#!/usr/bin/env bash
# Kills a component of a running cluster as a crash would, or starts it again with the command line that it had.
#
#   kube-component.sh a|b kill COMPONENT      SIGKILL, and until it is gone
#   kube-component.sh a|b start COMPONENT     until it does its work; nothing if it runs
#   kube-component.sh a|b pid COMPONENT       prints its pid; fails if it does not run
#
# COMPONENT: etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy
# local-path-provisioner. Containers outlive a killed kubelet and a killed containerd.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/kube-lib.sh
. "$here/kube-lib.sh"
# shellcheck source=scripts/kube/components.sh
. "$here/kube/components.sh"

main() {
  local command
  [ $# -eq 3 ] || die "usage: kube-component.sh a|b kill|start|pid COMPONENT"
  need_root
  select_node "$1"
  [ -s "$dir/pid/node" ] || die "cluster $node is not up (make kube-up)"
  component_command "$3" # refuses what is none
  case $2 in
    kill) component_kill "$3" ;;
    start) component_start "$3" ;;
    pid) component_pid "$3" || die "$3 of cluster $node does not run" ;;
    *) die "kill, start or pid, not '$2'" ;;
  esac
}

main "$@"
