#!/usr/bin/env bash
# Starts Docker engines of our own beside each other: no systemd, nothing shared with an engine of the machine.
#
#   docker-up.sh DIR [COUNT]       COUNT engines (1 by default) with everything below DIR; prints one DOCKER_HOST a line
#
#   DIR/N/{data,exec,docker.sock,pid,log,bin}     N = 1…COUNT
#
# Run again, it keeps an engine that answers and replaces one that does not (the machine was reset, the engine killed).
# Takes root. `docker-down.sh DIR` takes everything away again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/docker-lib.sh
. "$here/docker-lib.sh"

# A bridge has to be there before the engine, or every engine would make the same docker0.
bridge_up() {
  local bridge=$1 address=$2
  ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
  ip addr show dev "$bridge" | grep -qF " $address " || ip addr add "$address" dev "$bridge"
  ip link set "$bridge" up
}

# iptables of Debian speaks to nftables; on a kernel without it only the legacy program works. The engine finds it by
# its PATH, so a link in front is enough and the machine's own choice stays as it is.
legacy_iptables_if_needed() {
  local bin=$1 name
  iptables -t nat -nL >/dev/null 2>&1 && return 0
  iptables-legacy -t nat -nL >/dev/null 2>&1 || die "neither iptables nor iptables-legacy works on this kernel"
  mkdir -p "$bin"
  for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sf "$(command -v "${name/tables/tables-legacy}")" "$bin/$name"
  done
}

start_engine() {
  local dir=$1 bridge=$2
  mkdir -p "$dir/data" "$dir/exec"
  legacy_iptables_if_needed "$dir/bin"
  # setsid: a Ctrl-C on the tests must end the tests first; the engine is ended by docker-down.sh.
  PATH="$dir/bin:$PATH" setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" -H "unix://$dir/docker.sock" \
    --pidfile "$dir/pid" --bridge "$bridge" >"$dir/log" 2>&1 </dev/null &
}

engine_up() {
  local root=$1 n=$2 dir=$1/$2
  engine_answers "$dir" && return 0
  engine_down "$root" "$n" # what a killed one left behind would keep the next from starting
  bridge_up "$(bridge_name "$root" "$n")" "$(bridge_address "$root" "$n")"
  start_engine "$dir" "$(bridge_name "$root" "$n")"
  wait_for 60 engine_answers "$dir" && return 0
  tail -n 20 "$dir/log" >&2
  engine_down "$root" "$n"
  die "the engine in $dir does not come up; its last lines are above"
}

main() {
  [ $# -ge 1 ] || die "usage: docker-up.sh DIR [COUNT]"
  [ "$(id -u)" = 0 ] || die "a Docker engine takes root"
  need_tools
  local root count=${2:-1} n
  mkdir -p "$1"
  root=$(cd "$1" && pwd -P)
  # The kernel's limit for the path of a socket is 107 characters, and containerd's are deeper than ours.
  [ ${#root} -le 60 ] || die "$root is too long for the sockets below it (60 characters at most)"
  for n in $(seq "$count"); do engine_up "$root" "$n"; done
  for n in $(seq "$count"); do printf 'unix://%s/%s/docker.sock\n' "$root" "$n"; done
}

main "$@"
