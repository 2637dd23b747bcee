#!/usr/bin/env bash
# Builds the web interface into web/dist, from where the executable takes it. Does nothing if what is there was made of the
# same files. With --if-possible it says so in one line and succeeds where Node.js is missing: the panel then compiles
# without the interface and its page says how to get it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# Vite's and npm's own demand.
node_suffices() { have npm && have node && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'; }

# One hash over everything that goes into it: the sources, their dependencies' versions, the API's document.
sources_hash() {
  find web docs/openapi.json -type d \( -name node_modules -o -name dist -o -name tests -o -name test-results \) -prune -o -type f ! -name 'schema.d.ts' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

dependencies() {
  local wanted
  wanted=$(sha256sum <web/package-lock.json | cut -d' ' -f1)
  [ "$(cat web/node_modules/.lock-hash 2>/dev/null)" != "$wanted" ] || return 0
  say "npm ci"
  npm --prefix web ci --silent
  printf '%s\n' "$wanted" >web/node_modules/.lock-hash
}

# Browsers take these instead where they are smaller; brotli would be for https alone.
compress() { find web/dist -type f \( -name '*.js' -o -name '*.css' -o -name '*.svg' -o -name '*.html' \) -size +1k -exec gzip -9nk {} +; }

build() {
  local wanted existed=no
  wanted=$(sources_hash)
  if [ "$(cat web/dist/.sources-hash 2>/dev/null)" = "$wanted" ]; then return 0; fi
  [ ! -e web/dist/index.html ] || existed=yes
  dependencies
  say "building the web interface"
  npm --prefix web run --silent api >&2
  npm --prefix web run --silent build -- --logLevel warn >&2
  compress
  printf '%s\n' "$wanted" >web/dist/.sources-hash
  # Cargo watches the directory only once it is there; see that file.
  [ "$existed" = yes ] || touch crates/panel/build.rs
}

if ! node_suffices; then
  [ "${1:-}" = --if-possible ] || die "it takes Node.js 20.19 or newer, and npm"
  say "skipped: the web interface takes Node.js 20.19 or newer, and npm"
  exit 0
fi
[ "${1:-}" != --dependencies ] || { dependencies; exit 0; }
build
