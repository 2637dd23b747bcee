#!/usr/bin/env bash
# Builds the programs of the test clusters from their Go modules, once, and prints the directory where they lie.
#
#   kube-tools.sh kubernetes     hyperkube, kubectl (a link to it), local-path-provisioner: 8 minutes on 2 cores
#   kube-tools.sh helm           helm: 2 minutes
#
# The directory is in the cache under a hash of all that goes in: the module's files, the flags, the processor. Versions
# are pinned by go.mod and go.sum, so the hash changes exactly when what would be built does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

# Go installed from its archive is not in the PATH of a non-interactive shell.
export PATH="$PATH:/usr/local/go/bin"
# No C compiler in between, and so nothing of this machine's C library in the result.
export CGO_ENABLED=0

VERSION=k8s.io/component-base/version
declare -A LDFLAGS=(
  # Without a version the API server calls itself v0.0.0, and clients refuse to talk to it.
  [kubernetes]="-s -w -X $VERSION.gitVersion=v1.34.4 -X $VERSION.gitMajor=1 -X $VERSION.gitMinor=34"
  [helm]="-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.5"
)

build_hash() {
  { cat "$here/kube/$1"/*; printf '%s\n' "${LDFLAGS[$1]}" "$(uname -m)"; } | sha256sum | cut -c1-16
}

# Go 1.21 is the first that fetches by itself the newer one that a go.mod asks for.
need_go() {
  local minor
  have go || die "Go is missing: 1.24 or newer, from https://go.dev/dl or a package"
  minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [ "${minor:-0}" -ge 21 ] || die "$(go env GOVERSION) is too old to build Kubernetes: 1.24 or newer, from https://go.dev/dl"
}

build_kubernetes() {
  go build -trimpath -ldflags "${LDFLAGS[kubernetes]}" -o "$1/hyperkube" .
  go build -trimpath -ldflags "${LDFLAGS[kubernetes]}" -o "$1/" github.com/rancher/local-path-provisioner
  ln -s hyperkube "$1/kubectl"
}

build_helm() { go build -trimpath -ldflags "${LDFLAGS[helm]}" -o "$1/" helm.sh/helm/v3/cmd/helm; }

build() {
  local what=$1 out=$2 work
  need_go
  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$out.XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$work'" EXIT
  chmod 755 "$work"
  say "building $what (some minutes, once)"
  (cd "$here/kube/$what" && "build_$what" "$work") >&2
  # Somebody else may have built the same meanwhile: one of the two is as good as the other.
  mv -T "$work" "$out" 2>/dev/null || [ -d "$out" ] || die "cannot put $what into $out"
}

main() {
  case ${1:-} in kubernetes | helm) ;; *) die "usage: kube-tools.sh kubernetes|helm" ;; esac
  local out
  out=$(cache_dir)/$1/$(build_hash "$1")
  [ -d "$out" ] || build "$1" "$out"
  touch "$out"
  # What no checkout has used for a month goes.
  find "$(dirname "$out")" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} +
  printf '%s\n' "$out"
}

main "$@"
