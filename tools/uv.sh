#!/usr/bin/env bash
# Print the path of uv; install it from PyPI beside the project when the machine has none.
set -eu
cd "$(dirname "$0")/.."
if command -v uv >/dev/null 2>&1; then
  command -v uv
elif [ -x build/uv/bin/uv ]; then
  echo "$PWD/build/uv/bin/uv"
else
  echo "installing uv" >&2
  mkdir -p build
  # Debian's Python may come without ensurepip, so a plain target folder is the second choice.
  { python3 -m venv build/uv && build/uv/bin/pip install --quiet uv; } >&2 \
    || python3 -m pip install --quiet --target build/uv uv >&2
  echo "$PWD/build/uv/bin/uv"
fi
