#!/usr/bin/env bash
# Build the dashboard into dashboard/dist.
set -eu
cd "$(dirname "$0")/.."
run=tools/node.sh
if [ ! -d dashboard/node_modules ] || [ dashboard/package-lock.json -nt dashboard/node_modules/.package-lock.json ]; then
  $run npm --prefix dashboard ci --no-audit --no-fund --loglevel=error
fi
$run npm --prefix dashboard run build --silent
