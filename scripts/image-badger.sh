#!/usr/bin/env bash
# Makes the image of our own executable: orchestrator, mover, and where the launcher comes from. Nothing else is in it,
# no shell and no library.
#
#   image-badger.sh [--profile dev|release] OUT.tar     prints the image's name, whose tag is a hash of the content
#
# No registry and no engine needed; `docker load`, `ctr images import` and kube-load.sh take the archive.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/image-lib.sh
. "$here/image-lib.sh"

# The roots of TLS are compiled in. /tmp and the names of the user are what programs expect of any system.
make_root() {
  install -d -m 0755 "$1/etc"
  install -d -m 1777 "$1/tmp"
  printf 'root:x:0:0::/:\nbadger:x:1000:1000::/tmp:\n' >"$1/etc/passwd"
  printf 'root:x:0:\nbadger:x:1000:\n' >"$1/etc/group"
  chmod 0644 "$1/etc/passwd" "$1/etc/group"
  static_badger "$2" "$1/badger"
}

main() {
  local profile out work image
  image_options "$@"
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$work'" EXIT
  make_root "$work/root" "$profile"
  image=badger.local/badgerpanel:$(sha256sum <"$work/root/badger" | cut -c1-12)
  python3 "$here/mkimage.py" "$work/root" "$image" "$out" --user 1000:1000 --entrypoint '["/badger"]' --root-owns
  printf '%s\n' "$image"
}

main "$@"
