#!/usr/bin/env bash
# Make .venv exactly what requirements.lock says, with this workspace's own packages on top.
set -eu
cd "$(dirname "$0")/.."
uv=$(tools/uv.sh)
python=$(command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "Python 3.11 or newer is needed; this is $("$python" --version)" >&2; exit 1; }
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
"$uv" pip sync --quiet --require-hashes --python .venv/bin/python requirements.lock
own=()
for project in libs/*/pyproject.toml services/*/pyproject.toml; do
  own+=(-e "$(dirname "$project")")
done
"$uv" pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python "${own[@]}"
# What the platform imports is compiled here, once. Else its first start does that, and every start where Python may not
# write beside its sources (PYTHONDONTWRITEBYTECODE, a read-only folder): 4 s instead of 1.3 s of imports, tried.
PYTHONDONTWRITEBYTECODE='' .venv/bin/python -m datalabs_standalone.nursery --compile
