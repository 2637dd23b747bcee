#!/usr/bin/env bash
# Whether two clusters are what the tests expect of them: each gives a restricted pod a volume; its port answers this
# machine and the other cluster's pods; pods reach this machine; logs and exec work; a killed component comes back.
#
# Run by `test-kubernetes.sh --smoke`, which sets the variables. Leaves nothing in the clusters.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

: "${BADGER_TEST_KUBECTL:?is set by test-kubernetes.sh --smoke}"
PORT=30080

in_cluster() {
  local config=BADGER_TEST_KUBE_${1^^}
  shift
  "$BADGER_TEST_KUBECTL" --kubeconfig "${!config}" "$@"
}

pod() { in_cluster "$1" -n smoke "${@:2}"; }
node_address() { in_cluster "$1" get node "$1" -o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}'; }
# shellcheck disable=SC2016 # its arguments, not ours
fetch() { timeout 10 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$1" "$2"; }

objects() {
  cat <<-Y
	apiVersion: v1
	kind: Namespace
	metadata: {name: smoke, labels: {pod-security.kubernetes.io/enforce: restricted}}
	---
	apiVersion: v1
	kind: PersistentVolumeClaim
	metadata: {name: data, namespace: smoke}
	spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
	---
	apiVersion: v1
	kind: Service
	metadata: {name: web, namespace: smoke}
	spec: {type: NodePort, selector: {app: web}, ports: [{port: 8080, nodePort: $PORT}]}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: web, namespace: smoke, labels: {app: web}}
	spec:
	  automountServiceAccountToken: false
	  securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
	  initContainers:
	    - name: ours
	      image: $BADGER_TEST_BADGER_IMAGE
	      args: [ledger, --help]
	      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
	  containers:
	    - name: web
	      image: badger.local/box:1
	      command: [sh, -c, 'echo "this is $1" | tee /data/index.html; exec httpd -f -p 8080 -h /data']
	      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
	      volumeMounts: [{name: data, mountPath: /data}]
	  restartPolicy: Never
	  terminationGracePeriodSeconds: 0 # the shell and httpd do not listen to SIGTERM
	  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
	Y
}

# expect WHAT WANTED COMMAND…
expect() {
  local what=$1 wanted=$2 seen
  shift 2
  seen=$("$@") || die "$what: it failed: ${seen:-no output}"
  grep -q "$wanted" <<<"$seen" || die "$what: expected '$wanted', saw '$seen'"
  say "ok: $what"
}

web_runs() { [ "$(pod "$1" get pod web -o 'jsonpath={.status.containerStatuses[?(@.name=="web")].ready}')" = true ]; }
port_answers() { fetch "$1" "$PORT" >/dev/null 2>&1; }

raise() {
  objects "$1" | in_cluster "$1" apply -f - >/dev/null
  wait_for 60 web_runs "$1" || die "the pod of cluster $1 does not run: $(pod "$1" describe pod web | tail -n 8)"
  wait_for 30 port_answers "$(node_address "$1")" || die "the port of cluster $1 does not answer"
  say "ok: cluster $1 runs a restricted pod with a volume"
}

from_pod() { pod "$1" exec web -c web -- timeout 10 wget -q -O - "http://$2/"; }

# The machine's side of the bridge, as the panel will be reached.
listen() { exec python3 -m http.server --bind "$BADGER_TEST_KUBE_HOST" --directory "$here/kube/images" 8099 >/dev/null 2>&1; }
host_answers() { fetch "$BADGER_TEST_KUBE_HOST" 8099 >/dev/null 2>&1; }

check_cluster() {
  local cluster=$1 other=$2
  expect "$cluster's port from this machine" "this is $cluster" fetch "$(node_address "$cluster")" "$PORT"
  expect "$other's port from a pod of $cluster" "this is $other" from_pod "$cluster" "$(node_address "$other"):$PORT"
  expect "this machine from a pod of $cluster" pause.c from_pod "$cluster" "$BADGER_TEST_KUBE_HOST:8099"
  expect "logs of $cluster" "this is $cluster" pod "$cluster" logs web -c web
  expect "our own image in $cluster" "ledger" pod "$cluster" logs web -c ours
}

check_crash() {
  local component
  for component in kubelet kube-apiserver containerd; do
    "$here/kube-component.sh" "$1" kill "$component"
    ! "$here/kube-component.sh" "$1" pid "$component" 2>/dev/null || die "$component of $1 was not killed"
    "$here/kube-component.sh" "$1" start "$component"
    expect "the pod of $1 outlived $component" "this is $1" fetch "$(node_address "$1")" "$PORT"
  done
  wait_for 60 web_runs "$1" || die "cluster $1 does not recover"
}

tidy() {
  kill "$listener" 2>/dev/null || true
  local cluster
  for cluster in a b; do in_cluster "$cluster" delete namespace smoke --ignore-not-found --timeout 60s >/dev/null || say "namespace smoke stays in $cluster"; done
}

main() {
  listen &
  listener=$!
  trap tidy EXIT
  raise a
  raise b
  wait_for 10 host_answers || die "the listener on $BADGER_TEST_KUBE_HOST does not come up"
  check_cluster a b
  check_cluster b a
  check_crash a
  expect "helm" v3 "$BADGER_TEST_HELM" version --short
}

main "$@"
