#!/usr/bin/env bash
# Makes an image with a real game server that nobody here wrote, out of Debian's packages alone: no registry needed.
#
#   image-minetest.sh [DOCKER_HOST…]     builds it (about a minute, once) and loads it into each engine that is named
#
# Prints two words: the image's name and its archive, which a cluster takes as well (kube-load.sh). The archive is kept
# in the cache under a hash of everything that it is made from.
# Takes root: debootstrap does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

SUITE=bookworm
PACKAGES=minetest-server
IMAGE=badger.local/minetest:5.6.1
ENTRYPOINT=$here/../deploy/images/minetest/entrypoint.sh

source_hash() { cat "${BASH_SOURCE[0]}" "$here/mkimage.py" "$ENTRYPOINT" | sha256sum | cut -c1-16; }

# The mirror that this machine uses, whatever it is. Nothing printed: debootstrap takes its default.
mirror() {
  # shellcheck disable=SC2016 # apt's placeholder, not the shell's
  apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Codename: $SUITE" 2>/dev/null | head -n 1
}

# Documentation, caches and translations are two thirds of the tree, and no game reads them.
trim() {
  local root=$1
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,locale,info,zoneinfo,lintian}/* "${root:?}"/dev/* "$root"/tmp/*
  # Made anew at each installation, they would change the digest.
  rm -f "$root"/etc/machine-id "$root"/var/lib/dbus/machine-id "$root"/etc/hostname "$root"/etc/resolv.conf
}

make_root() {
  local root=$1
  # shellcheck disable=SC2046 # no mirror is no word
  debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$root" $(mirror) >&2
  trim "$root"
  install -D -m 0755 "$ENTRYPOINT" "$root/entrypoint.sh"
  install -d -o 1000 -g 1000 "$root/home/container"
}

build() {
  local out=$1 label=$2 work
  have debootstrap || die "debootstrap is missing (scripts/install-deps.sh installs it on Debian)"
  [ "$(id -u)" = 0 ] || die "debootstrap takes root"
  mkdir -p "$(dirname "$out")"
  work=$(mktemp -d "$(dirname "$out")/build.XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$work'" EXIT
  say "building $IMAGE (about a minute, once)"
  make_root "$work/root"
  python3 "$here/mkimage.py" "$work/root" "$IMAGE" "$out" --user 1000:1000 --workdir /home/container \
    --env HOME=/home/container --env USER=container --entrypoint '["/entrypoint.sh"]' --label "io.badgerpanel.source=$label"
}

loaded() {
  [ "$(docker -H "$1" image inspect -f '{{index .Config.Labels "io.badgerpanel.source"}}' "$IMAGE" 2>/dev/null)" = "$2" ]
}

main() {
  export PATH="$PATH:/usr/sbin:/sbin"
  local hash archive host
  hash=$(source_hash)
  archive=$(cache_dir)/images/minetest-$hash.tar
  [ -s "$archive" ] || build "$archive" "$hash"
  touch "$archive"
  # What no checkout has used for a month goes.
  find "$(dirname "$archive")" -name 'minetest-*.tar' -mtime +30 -delete
  for host in "$@"; do
    loaded "$host" "$hash" || docker -H "$host" load -q -i "$archive" >&2
  done
  printf '%s %s\n' "$IMAGE" "$archive"
}

main "$@"
