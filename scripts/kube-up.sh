#!/usr/bin/env bash
# Starts two real Kubernetes clusters of one node each beside each other, without systemd and without a registry, and
# prints the kubeconfig of each administrator: first a's, then b's.
#
#   kube-up.sh     keeps a cluster that works, replaces one that does not (a component was killed, the machine reset)
#
# All is below /tmp/bp-kube-HASH, HASH being of the checkout: NAME/admin.kubeconfig, NAME/log/COMPONENT.log, NAME/volumes.
# Takes root. `kube-down.sh` takes everything away again. kube/README.md says how it works.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/kube-lib.sh
. "$here/kube-lib.sh"
# shellcheck source=scripts/kube/node.sh
. "$here/kube/node.sh"
# shellcheck source=scripts/kube/components.sh
. "$here/kube/components.sh"

node_is_ready() {
  local seen='{.status.conditions[?(@.type=="Ready")].status}'
  [ "$(kubectl get node "$node" -o "jsonpath=$seen" 2>/dev/null)" = True ] &&
    kubectl get serviceaccount default >/dev/null 2>&1 # pods are refused until it is there
}

works() {
  local component
  [ -s "$dir/pid/node" ] || return 1
  for component in "${KUBE_COMPONENTS[@]}"; do component_ready "$component" || return 1; done
  node_is_ready
}

# What takes its time to come up goes first: the others wait for the API server anyway.
start_components() {
  local component
  for component in etcd containerd kube-apiserver; do component_spawn "$component"; done
  component_start containerd
  printf '%s\n' "$images" | xargs -n 1 ctr --address "$dir/containerd.sock" --namespace k8s.io images import >/dev/null
  component_start kube-apiserver
  kubectl apply -f "$here/kube/storage.yaml" >/dev/null
  for component in "${KUBE_COMPONENTS[@]}"; do component_start "$component"; done
}

cluster_up() {
  select_node "$1"
  if works; then
    say "cluster $node runs already"
    return 0
  fi
  node_down "$node" # what a killed one left behind would keep the next from starting
  bridge_up
  make_node
  start_components
  wait_for 60 node_is_ready || die "the node of cluster $node does not become ready; see $dir/log/kubelet.log"
  say "cluster $node is ready after $SECONDS s: $node_ip"
}

main() {
  [ $# -eq 0 ] || die "usage: kube-up.sh"
  need_root
  one_at_a_time "$@"
  need_kube_tools
  local tools images name
  tools=$("$here/kube-tools.sh" kubernetes)
  images=$("$here/kube-images.sh")
  mkdir -p "$kube_state"
  ln -sfn "$tools" "$kube_state/tools"
  for name in "${KUBE_NODES[@]}"; do cluster_up "$name"; done
  for name in "${KUBE_NODES[@]}"; do printf '%s/%s/admin.kubeconfig\n' "$kube_state" "$name"; done
}

main "$@"
