#!/usr/bin/env bash
# Puts images into both clusters, which have no registry to pull from: pods need `imagePullPolicy: IfNotPresent`.
#
#   kube-load.sh IMAGE.tar…     archives as mkimage.py or `docker save` make them
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/kube-lib.sh
. "$here/kube-lib.sh"

main() {
  [ $# -ge 1 ] || die "usage: kube-load.sh IMAGE.tar…"
  need_root
  local name archive
  for name in "${KUBE_NODES[@]}"; do
    select_node "$name"
    [ -S "$dir/containerd.sock" ] || die "cluster $node is not up (make kube-up)"
    for archive in "$@"; do containers images import "$archive" >/dev/null; done
  done
}

main "$@"
