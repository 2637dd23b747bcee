#!/usr/bin/env bash
# The process that a node's namespaces live by. Runs inside them and does nothing more once they are set up.
#
#   namespaces.sh DIR     DIR/pid/node appears when they are ready; started by kube/node.sh alone
#
# containerd, the kubelet and the network plugins have directories that no option moves. Each node gets its own in their
# place, so that two nodes do not meet there and nothing of a test stays on the machine.
set -euo pipefail

dir=$1
for fixed in /run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers; do
  if [ ! -d "$fixed" ]; then
    mkdir -p "$fixed"
    printf '%s\n' "$fixed" >>"${dir%/*}/made"
  fi
  mkdir -p "$dir/fixed$fixed"
  mount --bind "$dir/fixed$fixed" "$fixed"
done

printf '%s\n' "$$" >"$dir/pid/node"
exec sleep infinity
