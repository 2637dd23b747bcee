#!/usr/bin/env bash
# Builds MinIO, the object storage that the tests of backups use, once, and prints the path of its executable.
#
# In the cache by version and processor. Its releases carry no semantic tags, so a pseudo-version of its Go module is
# pinned: a commit, whose content Go's checksum database vouches for.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=v0.0.0-20260212201848-7aac2a2c5b7c

# Go installed from its archive is not in the PATH of a non-interactive shell.
export PATH="$PATH:/usr/local/go/bin"
export CGO_ENABLED=0

build() {
  local out=$1 work
  have go || die "Go is missing: 1.24 or newer, from https://go.dev/dl or a package"
  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$out.XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$work'" EXIT
  chmod 755 "$work"
  say "building MinIO (some minutes, once)"
  GOBIN=$work go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$VERSION" >&2
  # Somebody else may have built the same meanwhile: one of the two is as good as the other.
  mv -T "$work" "$out" 2>/dev/null || [ -d "$out" ] || die "cannot put MinIO into $out"
}

main() {
  [ $# -eq 0 ] || die "usage: minio.sh"
  local out
  out=$(cache_dir)/minio/$VERSION-$(uname -m)
  [ -d "$out" ] || build "$out"
  touch "$out"
  # What no checkout has used for a month goes.
  find "$(dirname "$out")" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} +
  printf '%s\n' "$out/minio"
}

main "$@"
