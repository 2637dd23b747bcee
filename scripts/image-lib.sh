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
# How the C library is linked is decided when the executable is linked, so everything else in it is what the usual build has
# made already: of a release `make build`'s, otherwise that of the tests. Cargo keeps the executables apart and says which
# file this one is. Names are resolved by what glibc has built in, from /etc/hosts and /etc/resolv.conf.
static_badger() {
  local executable features=test-util
  [ "$1" != release ] || features=
  executable=$(
    cd "$here/.." || exit
    cargo rustc --locked --profile "$1" -p badger --bin badger --features "$features" \
      --message-format json-render-diagnostics -- -C target-feature=+crt-static |
      sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
  )
  strip -o "$2" "${executable:?cargo has named no executable}"
  chmod 0755 "$2"
}
