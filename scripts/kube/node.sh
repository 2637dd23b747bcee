# shellcheck shell=bash
# Makes the node of a cluster: control groups, namespaces, network, credentials, configuration files. Starts none of the
# components (kube/components.sh does). Sourced by kube-up.sh after kube-lib.sh and select_node, never run.
# shellcheck disable=SC2154 # variables of kube-lib.sh

# The kubelet wants its root in every hierarchy of version 1, and a cpuset with processors in it; version 2 has one
# hierarchy, where each controller must be passed down explicitly.
make_groups() {
  local hierarchy file
  if cgroup_v2; then
    mkdir -p "/sys/fs/cgroup/$group"
    # Processes may not sit in a group that passes controllers down: ours are in …/node.
    for file in /sys/fs/cgroup/cgroup.subtree_control "/sys/fs/cgroup/$group/cgroup.subtree_control"; do
      for hierarchy in cpu cpuset io memory pids hugetlb; do echo "+$hierarchy" 2>/dev/null >"$file" || true; done
    done
  else
    for hierarchy in /sys/fs/cgroup/*/; do
      [ -e "$hierarchy/tasks" ] || continue
      mkdir -p "$hierarchy/$group"
      for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$group/$file"
      done
    done
  fi
  mkdir -p "$(node_group)"
}

# The namespaces of the node live as long as this process. `slave`: what this machine unmounts is not kept alive in there.
start_namespaces() {
  (
    join_node_group
    exec setsid unshare --net --mount --propagation slave "$here/kube/namespaces.sh" "$dir"
  ) >"$dir/log/node.log" 2>&1 </dev/null &
  wait_for 10 [ -s "$dir/pid/node" ] || die "no namespaces for cluster $node: $(cat "$dir/log/node.log")"
}

start_network() {
  ip link add "$veth" type veth peer name eth0 netns "$(cat "$dir/pid/node")"
  ip link set "$veth" master "$kube_bridge" up
  inside ip link set lo up
  inside ip addr add "$node_ip/24" dev eth0
  inside ip link set eth0 up
  inside ip route add default via "$kube_host"
  inside sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# ---- Credentials. Clients are known by tokens; certificates say who the servers are.

certificate_sections() {
  cat <<-C
	[req]
	distinguished_name = none
	[none]
	[authority]
	basicConstraints = critical, CA:true
	keyUsage = critical, keyCertSign
	[server]
	basicConstraints = critical, CA:false
	extendedKeyUsage = serverAuth
	subjectAltName = IP:$node_ip, IP:$api_service_ip, IP:127.0.0.1, DNS:kubernetes.default.svc, DNS:kubernetes
	[client]
	basicConstraints = critical, CA:false
	extendedKeyUsage = clientAuth
	C
}

# certificate NAME SECTION SUBJECT [OPTION…]
certificate() {
  local name=$dir/pki/$1 section=$2 subject=$3
  shift 3
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "$subject" -config "$dir/pki/sections" \
    -extensions "$section" -keyout "$name.key" -out "$name.crt" "$@" 2>>"$dir/log/openssl.log"
}

certificates() {
  local by=(-CA "$dir/pki/ca.crt" -CAkey "$dir/pki/ca.key")
  certificate_sections >"$dir/pki/sections"
  certificate ca authority "/CN=$group"
  certificate apiserver server "/CN=kube-apiserver" "${by[@]}"
  # The API server shows this one to the kubelet: for logs, exec and port-forward.
  certificate kubelet-client client "/O=system:masters/CN=kube-apiserver-kubelet-client" "${by[@]}"
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/pki/service-accounts.key"
}

# client FILE USER GROUP: a kubeconfig that needs no other file, and the token in it.
client() {
  local token file=$dir/$1.kubeconfig
  token=$(openssl rand -hex 16)
  printf '%s,%s,%s,"%s"\n' "$token" "$2" "$2" "$3" >>"$dir/pki/tokens.csv"
  (umask 077 && cat >"$file") <<-Y
	apiVersion: v1
	kind: Config
	current-context: $node
	clusters: [{name: $node, cluster: {server: "https://$node_ip:6443", certificate-authority-data: $(base64 -w0 "$dir/pki/ca.crt")}}]
	users: [{name: $2, user: {token: $token}}]
	contexts: [{name: $node, context: {cluster: $node, user: "$2"}}]
	Y
}

clients() {
  client admin admin system:masters
  client controller-manager system:kube-controller-manager system:authenticated
  client scheduler system:kube-scheduler system:authenticated
  client proxy system:kube-proxy system:authenticated
  client kubelet "system:node:$node" system:nodes
}

# ---- Configuration files.

# restrict_oom_score_adj: where a process may not lower its own score, every sandbox would fail without it.
# netns_mounts_under_state_dir: the networks of pods end with the directory, not in /run/netns of the machine.
containerd_config() {
  cat >"$dir/containerd.toml" <<-T
	version = 2
	root = "$dir/containerd"
	state = "$dir/run"
	[grpc]
	  address = "$dir/containerd.sock"
	[plugins."io.containerd.internal.v1.opt"]
	  path = "$dir/opt"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "badger.local/pause:1"
	  restrict_oom_score_adj = true
	  netns_mounts_under_state_dir = true
	  [plugins."io.containerd.grpc.v1.cri".cni]
	    bin_dir = "/usr/lib/cni"
	    conf_dir = "$dir/cni"
	T
}

pod_network() {
  cat >"$dir/cni/10-pods.conflist" <<-J
	{"cniVersion": "0.4.0", "name": "$group", "plugins": [
	  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
	   "ipam": {"type": "host-local", "dataDir": "$dir/ipam", "ranges": [[{"subnet": "$pod_net"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	J
}

kubelet_config() {
  cat >"$dir/kubelet.yaml" <<-Y
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	containerRuntimeEndpoint: unix://$dir/containerd.sock
	cgroupDriver: cgroupfs
	cgroupRoot: /$group
	failSwapOn: false
	failCgroupV1: false
	authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
	authorization: {mode: Webhook}
	clusterDomain: cluster.local
	clusterDNS: [$dns_ip]
	resolvConf: $dir/resolv.conf
	volumePluginDir: $dir/volume-plugins
	podLogsDir: $dir/pod-logs
	evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
	imageMinimumGCAge: 8760h
	nodeStatusUpdateFrequency: 4s
	Y
  printf 'nameserver %s\n' "$kube_host" >"$dir/resolv.conf"
}

storage_config() {
  printf '{"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["%s"]}]}\n' "$dir/volumes" >"$dir/local-path.json"
}

make_node() {
  mkdir -p "$dir"/{pki,log,pid,cni,ipam,etcd,kubelet,volume-plugins,pod-logs,opt}
  make_groups
  start_namespaces
  start_network
  certificates
  clients
  containerd_config
  pod_network
  kubelet_config
  storage_config
}
