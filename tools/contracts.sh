#!/usr/bin/env bash
# Write the generated contracts, or with --check say whether the committed ones differ.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/python -m datalabs_contracts.generate
.venv/bin/python -m datalabs_gateway.generate
tools/node.sh npm --prefix dashboard run types --silent
if [ "${1:-}" = --check ]; then
  changed=$(git status --porcelain -- 'docs/*.gen.*' 'dashboard/src/**/*.gen.*')
  if [ -n "$changed" ]; then
    echo "generated files differ from their sources; run \`make contracts\` and commit:" >&2
    echo "$changed" >&2
    exit 1
  fi
fi
