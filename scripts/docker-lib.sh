# shellcheck shell=bash
# What docker-up.sh and docker-down.sh share. Sourced after lib.sh, never run.

export PATH="$PATH:/usr/sbin:/sbin"

need_tools() {
  local tool
  for tool in docker dockerd ip iptables setsid; do
    have "$tool" || die "$tool is missing (scripts/install-deps.sh installs it on Debian)"
  done
}

# Two checkouts may test at the same time: names and networks come from the directory, not from the number alone.
dir_hash() { printf '%s' "$1" | sha256sum | cut -c1-6; }
bridge_name() { printf 'bp%s-%s' "$(dir_hash "$1")" "$2"; }
bridge_address() { printf '10.%d.%d.1/24' "$((200 + $2))" "$((16#$(dir_hash "$1" | cut -c1-2)))"; }

on_engine() {
  local dir=$1
  shift
  timeout 60 docker -H "unix://$dir/docker.sock" "$@"
}

engine_answers() { [ -S "$1/docker.sock" ] && timeout 10 docker -H "unix://$1/docker.sock" info >/dev/null 2>&1; }

# Processes of the engine in DIR, found by their own command line: the program must be one of Docker's and name DIR/exec
# or DIR/docker.sock. A pid from a stale file alone could be anybody's by now.
engine_pids() {
  local dir=$1 proc name
  for proc in /proc/[0-9]*; do
    name=$(cat "$proc/comm" 2>/dev/null) || continue
    case $name in dockerd | containerd | containerd-shim* | docker-proxy) ;; *) continue ;; esac
    tr '\0' ' ' 2>/dev/null <"$proc/cmdline" | grep -qF -e "$dir/exec" -e "$dir/docker.sock" && printf '%s\n' "${proc#/proc/}"
  done
  return 0
}

no_pids() { [ -z "$(engine_pids "$1")" ]; }

# Ends the processes: asked first, by force after SECONDS.
end_processes() {
  local dir=$1 seconds=$2 pids
  pids=$(engine_pids "$dir")
  [ -n "$pids" ] || return 0
  # shellcheck disable=SC2086 # a list of pids; one that has ended meanwhile is fine
  kill $pids 2>/dev/null || true
  wait_for "$seconds" no_pids "$dir" && return 0
  pids=$(engine_pids "$dir")
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
  wait_for 10 no_pids "$dir" || die "processes of the engine in $dir do not end: $(engine_pids "$dir" | tr '\n' ' ')"
}

remove_containers() {
  local dir=$1 ids
  ids=$(on_engine "$dir" ps -aq) || return 0
  # shellcheck disable=SC2086 # a list of ids
  [ -z "$ids" ] || on_engine "$dir" rm -f $ids >/dev/null || say "some containers of $dir could not be removed"
}

# Deepest first; lazily where something still holds it.
unmount_below() {
  local mount
  awk -v p="$1/" 'index($5, p) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount" || say "cannot unmount $mount"
  done
}

# The engine leaves its rules behind. Only those that name our bridge or its network go.
drop_rules() {
  local bridge=$1 network=$2 tables=iptables table rule
  [ -x "$3/bin/iptables" ] && tables="$3/bin/iptables"
  for table in nat filter; do
    "$tables" -t "$table" -S 2>/dev/null | grep -e " $bridge\b" -e " $network\b" | sed -n 's/^-A //p' |
      while read -r rule; do
        # shellcheck disable=SC2086 # a rule is a list of words
        "$tables" -t "$table" -D $rule 2>/dev/null || true # another engine may have taken it with it
      done
  done
}

# Processes of containers outlive a killed engine. They are known by their root: an overlay whose layers lie in DIR.
end_orphans() {
  local dir=$1 proc
  for proc in /proc/[0-9]*; do
    # It may end while we look, hence the silence.
    grep -qsE "^([^ ]+ ){4}/ .*=$dir/data/" "$proc/mountinfo" && { kill -KILL "${proc#/proc/}" 2>/dev/null || true; }
  done
  return 0
}

engine_down() {
  local root=$1 n=$2 dir=$1/$2 bridge
  bridge=$(bridge_name "$root" "$n")
  engine_answers "$dir" && remove_containers "$dir"
  end_processes "$dir" 20
  end_orphans "$dir"
  unmount_below "$dir"
  if ip link show "$bridge" >/dev/null 2>&1; then
    drop_rules "$bridge" "$(bridge_address "$root" "$n" | sed 's|1/24|0/24|')" "$dir"
    ip link del "$bridge"
  fi
  rm -rf "$dir"
}
