#!/usr/bin/env bash
# Resolve the workspace and write requirements.lock: names, versions and hashes, no addresses.
set -eu
cd "$(dirname "$0")/.."
uv=$(tools/uv.sh)
"$uv" lock --quiet --upgrade
"$uv" export --quiet --frozen --all-packages --all-groups --no-emit-workspace --no-annotate --no-header \
  --format requirements-txt --output-file requirements.lock
