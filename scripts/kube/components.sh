# shellcheck shell=bash
# The processes that make a node a cluster: their command lines, and how one is started, killed and seen to be ready.
# kube-up.sh and kube-component.sh share it, so a component that a test killed comes back as it was. Sourced, never run.
# shellcheck disable=SC2154 # variables of kube-lib.sh

# In the order in which they start.
KUBE_COMPONENTS=(etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy local-path-provisioner)

# component_command NAME: sets `command`.
component_command() {
  local pki=$dir/pki hyperkube
  hyperkube=$(tool hyperkube)
  case $1 in
    etcd)
      # What a test cluster holds need not survive the machine; it must survive a kill of etcd, and that it does.
      command=("$hyperkube" etcd --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380)
      ;;
    containerd) command=(containerd --config "$dir/containerd.toml") ;;
    kube-apiserver)
      command=("$hyperkube" kube-apiserver --etcd-servers http://127.0.0.1:2379
        --bind-address 0.0.0.0 --secure-port 6443 --advertise-address "$node_ip"
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key"
        --token-auth-file "$pki/tokens.csv" --authorization-mode "Node,RBAC" --enable-admission-plugins NodeRestriction
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/service-accounts.key"
        --service-account-signing-key-file "$pki/service-accounts.key"
        --service-cluster-ip-range "$service_net" --service-node-port-range 30000-32767 --allow-privileged=true
        --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key"
        --kubelet-preferred-address-types InternalIP)
      ;;
    kube-controller-manager)
      command=("$hyperkube" kube-controller-manager --kubeconfig "$dir/controller-manager.kubeconfig" --leader-elect=false
        --use-service-account-credentials --service-account-private-key-file "$pki/service-accounts.key"
        --root-ca-file "$pki/ca.crt" --cert-dir "$pki/controller-manager" --flex-volume-plugin-dir "$dir/volume-plugins"
        --allocate-node-cidrs --cluster-cidr "$pod_net" --node-cidr-mask-size 24)
      ;;
    kube-scheduler)
      command=("$hyperkube" kube-scheduler --kubeconfig "$dir/scheduler.kubeconfig" --leader-elect=false --cert-dir "$pki/scheduler")
      ;;
    kubelet)
      command=("$hyperkube" kubelet --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.kubeconfig"
        --hostname-override "$node" --node-ip "$node_ip" --root-dir "$dir/kubelet" --cert-dir "$pki/kubelet")
      ;;
    kube-proxy)
      # The limits of conntrack belong to the machine, and inside a network namespace they are read-only.
      command=("$hyperkube" kube-proxy --kubeconfig "$dir/proxy.kubeconfig" --proxy-mode nftables
        --hostname-override "$node" --cluster-cidr "$pod_net" --bind-address "$node_ip"
        --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s)
      ;;
    local-path-provisioner)
      command=("$(tool local-path-provisioner)" start --config "$dir/local-path.json" --kubeconfig "$dir/admin.kubeconfig"
        --helper-image badger.local/box:1 --helper-pod-file "$here/kube/helper-pod.yaml")
      ;;
    *) die "no component '$1'; there are: ${KUBE_COMPONENTS[*]}" ;;
  esac
}

# The pid in the file counts only while that process is in the node's group: a stale one could be anybody's by now.
component_pid() {
  local pid
  pid=$(cat "$dir/pid/$1" 2>/dev/null) || return 1
  grep -qx "$pid" "$(node_group)/cgroup.procs" 2>/dev/null || return 1
  printf '%s\n' "$pid"
}

component_ended() { ! component_pid "$1" >/dev/null; }

port_answers() { inside timeout 2 bash -c "</dev/tcp/127.0.0.1/$1" 2>/dev/null; }

component_ready() {
  component_pid "$1" >/dev/null || return 1
  case $1 in
    etcd) port_answers 2379 ;;
    containerd) containers version >/dev/null 2>&1 ;;
    kube-apiserver) kubectl get --raw /readyz >/dev/null 2>&1 ;;
    kube-controller-manager) port_answers 10257 ;;
    kube-scheduler) port_answers 10259 ;;
    kubelet) port_answers 10248 ;;
    kube-proxy) port_answers 10249 ;;
  esac
}

# component_spawn NAME: starts it and does not wait. Nothing if it runs already.
component_spawn() {
  local command
  component_ended "$1" || return 0
  component_command "$1"
  (
    join_node_group
    # setsid: a Ctrl-C on the tests must end the tests first; the cluster is ended by kube-down.sh.
    exec setsid nsenter --target "$(cat "$dir/pid/node")" --net --mount "${command[@]}"
  ) >>"$dir/log/$1.log" 2>&1 </dev/null &
  printf '%s\n' "$!" >"$dir/pid/$1"
}

# component_start NAME: until it does its work, or the end.
component_start() {
  component_spawn "$1"
  wait_for 60 component_ready "$1" && return 0
  tail -n 20 "$dir/log/$1.log" >&2
  die "$1 of cluster $node does not come up; its last lines are above, all of them in $dir/log/$1.log"
}

# component_kill NAME: at once, as a crash would. The containers of a killed containerd or kubelet go on.
component_kill() {
  local pid
  pid=$(component_pid "$1") || die "$1 of cluster $node does not run"
  kill -KILL "$pid"
  wait_for 10 component_ended "$1" || die "$1 of cluster $node does not end (pid $pid)"
}
