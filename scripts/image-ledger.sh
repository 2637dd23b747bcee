#!/usr/bin/env bash
# Makes the image of the sample game server, for tests on engines and clusters: our executable and a busybox to look
# around with, as an egg's image is. It says nothing about what to run: the egg's startup line does (`badger ledger …`).
#
#   image-ledger.sh [--profile dev|release] OUT.tar     prints the image's name
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/image-lib.sh
. "$here/image-lib.sh"

IMAGE=badger.local/ledger:test

make_root() {
  busybox_is_static || die "a static busybox is missing (scripts/install-deps.sh installs it on Debian)"
  busybox_root "$1"
  install -d -m 0755 "$1/etc" "$1/home/container" "$1/usr/bin"
  printf 'root:x:0:0::/:/bin/sh\ncontainer:x:1000:1000::/home/container:/bin/sh\n' >"$1/etc/passwd"
  chmod 0644 "$1/etc/passwd"
  static_badger "$2" "$1/usr/bin/badger"
}

main() {
  local profile out work
  image_options "$@"
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$work'" EXIT
  make_root "$work/root" "$profile"
  python3 "$here/mkimage.py" "$work/root" "$IMAGE" "$out" --user 1000:1000 --workdir /home/container \
    --env HOME=/home/container --env USER=container --root-owns
  printf '%s\n' "$IMAGE"
}

main "$@"
