# shellcheck shell=bash
# What the images that hold our own executable share. Sourced after lib.sh, never run; `here` is the directory of the
# scripts.
# shellcheck disable=SC2154 # `here`

# image_options ARGUMENT…: reads [--profile dev|release] OUT.tar into `profile` and `out`.
# shellcheck disable=SC2034 # both are for the script
image_options() {
  profile=dev
  if [ "${1:-}" = --profile ]; then
    profile=${2:-}
    shift 2 || true
  fi
  case $profile in dev | release) ;; *) die "--profile is dev or release, not '$profile'" ;; esac
  [ $# -eq 1 ] || die "usage: $(basename "$0") [--profile dev|release] OUT.tar"
  out=$1
}

# static_badger PROFILE FILE: builds the executable so that it needs nothing around it, and puts it there without symbols.
# Cargo keeps this beside the usual build, in a directory of the target's, so neither undoes the other. Names are
# resolved by what glibc has built in, from /etc/hosts and /etc/resolv.conf.
static_badger() {
  local target folder=$1
  target=$(rustc -vV | sed -n 's/^host: //p')
  [ "$1" = release ] || folder=debug
  (
    cd "$here/.." || exit
    RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --locked --profile "$1" --target "$target" --bin badger >&2
    strip -o "$2" "${CARGO_TARGET_DIR:-target}/$target/$folder/badger"
  )
  chmod 0755 "$2"
}
