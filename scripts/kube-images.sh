#!/usr/bin/env bash
# Makes the two images that a cluster needs before it can run anything, without a registry, and prints their archives.
#
#   badger.local/pause:1     the process of a pod's sandbox (kube/images/pause.c)
#   badger.local/box:1       busybox: a shell for the volume provisioner, and for tests that want to look around in a pod
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

need_parts() {
  have cc || die "cc is missing (scripts/install-deps.sh installs it on Debian)"
  busybox_is_static || die "a static busybox is missing (scripts/install-deps.sh installs it on Debian)"
}

source_hash() {
  cat "${BASH_SOURCE[0]}" "$here/mkimage.py" "$here/kube/images/pause.c" "$(command -v busybox)" | sha256sum | cut -c1-16
}

pause_image() {
  mkdir -p "$1/pause"
  cc -Os -static -s -o "$1/pause/pause" "$here/kube/images/pause.c"
  python3 "$here/mkimage.py" "$1/pause" badger.local/pause:1 "$1/pause.tar" --entrypoint '["/pause"]' --root-owns
}

box_image() {
  busybox_root "$1/box"
  python3 "$here/mkimage.py" "$1/box" badger.local/box:1 "$1/box.tar" --entrypoint '["/bin/sh"]' --root-owns
}

build() {
  local out=$1 work
  need_parts
  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$out.XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$work'" EXIT
  chmod 755 "$work"
  pause_image "$work"
  box_image "$work"
  rm -rf "$work/pause" "$work/box"
  mv -T "$work" "$out" 2>/dev/null || [ -d "$out" ] || die "cannot put the images into $out"
}

main() {
  local out
  out=$(cache_dir)/images/kube-$(source_hash)
  [ -d "$out" ] || build "$out"
  touch "$out"
  find "$(dirname "$out")" -maxdepth 1 -name 'kube-*' -mtime +30 -exec rm -rf {} +
  printf '%s\n' "$out/pause.tar" "$out/box.tar"
}

main "$@"
