# shellcheck shell=bash
# What the kube scripts share: the names and addresses of the two nodes, where their things lie, and how everything of
# a node is found and ended. Sourced after lib.sh, never run; `here` is the directory of the scripts.
# shellcheck disable=SC2034,SC2154 # the variables below are for the scripts that source this; theirs is `here`

export PATH="$PATH:/usr/sbin:/sbin"

KUBE_NODES=(a b)

# Two checkouts may test at the same time: names, networks and directories come from the checkout's path.
kube_checkout=$(cd "$here/.." && pwd -P | sha256sum | cut -c1-8)
# Short, because of the sockets below it. Always the same, so that a run after a killed one finds what that one left.
kube_state=/tmp/bp-kube-$kube_checkout
kube_bridge=bpk-${kube_checkout:0:6}
kube_net=10.77.$((16#${kube_checkout:0:2}))
kube_host=$kube_net.1

need_root() { [ "$(id -u)" = 0 ] || die "it takes root: clusters have network namespaces and mounts"; }

# one_at_a_time ARGUMENT…: goes on when no other run of this checkout brings clusters up or down. The lock is on a file that
# is there anyway, and what is started does not inherit it.
one_at_a_time() {
  [ -n "${BADGER_KUBE_LOCKED:-}" ] || BADGER_KUBE_LOCKED=1 exec flock --close "$here/kube-lib.sh" "$here/$(basename "$0")" "$@"
}

need_kube_tools() {
  local tool
  for tool in containerd containerd-shim-runc-v2 ctr runc nft conntrack iptables ip openssl nsenter unshare setsid; do
    have "$tool" || die "$tool is missing (scripts/install-deps.sh installs it on Debian)"
  done
  [ -x /usr/lib/cni/bridge ] || die "/usr/lib/cni/bridge is missing (scripts/install-deps.sh installs it on Debian)"
}

# select_node NAME: what belongs to this node, in variables that all the functions below use.
select_node() {
  local number
  case ${1:-} in a) number=1 ;; b) number=2 ;; *) die "there are the clusters a and b, not '${1:-}'" ;; esac
  node=$1
  dir=$kube_state/$node
  group=bpk-$kube_checkout-$node
  veth=bpk${kube_checkout:0:6}$node
  node_ip=$kube_net.$((10 + number))
  pod_net=10.$((100 + number)).0.0/16
  service_net=10.$((150 + number)).0.0/16
  api_service_ip=10.$((150 + number)).0.1
  dns_ip=10.$((150 + number)).0.10
}

tool() { printf '%s/tools/%s' "$kube_state" "$1"; }
kubectl() { "$(tool kubectl)" --request-timeout 10s --kubeconfig "$dir/admin.kubeconfig" "$@"; }
containers() { ctr --address "$dir/containerd.sock" --namespace k8s.io "$@"; }

# inside COMMAND…: runs it in the node's network and with the node's mounts.
inside() { nsenter --target "$(cat "$dir/pid/node")" --net --mount "$@"; }

# ---- Control groups: everything of a node is in one, so nothing of it can hide, whatever became of pid files.

cgroup_v2() { [ -e /sys/fs/cgroup/cgroup.controllers ]; }

# The group of our own processes, beside the pods'. Of version 1 one hierarchy is enough to find them.
node_group() { cgroup_v2 && printf '/sys/fs/cgroup/%s/node' "$group" || printf '/sys/fs/cgroup/pids/%s/node' "$group"; }

# To be called in the subshell that becomes the process.
join_node_group() { echo "$BASHPID" >"$(node_group)/cgroup.procs"; }

group_dirs() { find /sys/fs/cgroup -depth -type d -path "*/$group*" 2>/dev/null; }

group_pids() {
  group_dirs | while read -r d; do cat "$d/cgroup.procs" 2>/dev/null || true; done | sort -un
}

# Kills whatever is there; true when nothing is. A container's process that forks meanwhile is found the next time.
kill_group() {
  local pids
  pids=$(group_pids)
  [ -n "$pids" ] || return 0
  # shellcheck disable=SC2086 # a list of pids; one that has ended meanwhile is fine
  kill -KILL $pids 2>/dev/null || true
  return 1
}

remove_groups() {
  group_dirs | xargs -r rmdir 2>/dev/null || true
  [ -z "$(group_dirs)" ]
}

# ---- The bridge between the nodes and this machine.

# Engines of Docker drop what is forwarded unless somebody says otherwise, and make the kernel ask the firewall about
# bridged packets too. Asked is the program that they would use (docker-up.sh): a rule of one backend says nothing to
# the other.
firewall() {
  if iptables -t nat -nL >/dev/null 2>&1; then iptables "$@"; else iptables-legacy "$@"; fi
}

accept_forwarding() {
  local way
  for way in -i -o; do
    firewall -C FORWARD "$way" "$kube_bridge" -j ACCEPT 2>/dev/null || firewall -I FORWARD "$way" "$kube_bridge" -j ACCEPT
  done
}

forget_forwarding() {
  local way
  for way in -i -o; do
    while firewall -D FORWARD "$way" "$kube_bridge" -j ACCEPT 2>/dev/null; do :; done
  done
}

bridge_up() {
  if ! ip link show "$kube_bridge" >/dev/null 2>&1; then
    ip -4 -br addr | grep -qF " $kube_host/" && die "$kube_host is in use already: another checkout's clusters, or this machine's network"
    ip link add "$kube_bridge" type bridge
    ip addr add "$kube_host/24" dev "$kube_bridge"
    ip link set "$kube_bridge" up
  fi
  accept_forwarding
}

bridge_down() {
  forget_forwarding
  ip link del "$kube_bridge" 2>/dev/null || true # it may never have been there
}

# ---- The end of a node.

# Ends the node, in whatever state it is. Its mounts and its network end with its last process: they are in namespaces
# of its own. Nothing in a test cluster is worth a graceful end.
node_down() {
  select_node "$1"
  wait_for 30 kill_group || die "processes of cluster $node do not end: $(group_pids | tr '\n' ' ')"
  wait_for 10 remove_groups || say "control groups of cluster $node stay: $(group_dirs | head -n 1) …"
  ip link del "$veth" 2>/dev/null || true # gone with its other end
  rm -rf "$dir"
}
