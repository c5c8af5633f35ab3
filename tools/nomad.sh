#!/usr/bin/env bash
# tools/nomad.sh COMMAND...: find a Nomad binary that the tests may start agents of, then run the command.
# Nomad is not in Debian and none ships with the project. Without one this says so and fails; with DATALABS_OPTIONAL=1 it passes.
set -eu
refuse() {
  echo "THE NOMAD TIER CANNOT RUN: $1" >&2
  [ "${DATALABS_OPTIONAL:-}" = 1 ] && exit 0
  exit 1
}
binary=${NOMAD_BINARY:-$(command -v nomad || true)}
[ -n "$binary" ] || refuse "there is no \`nomad\` on PATH and NOMAD_BINARY names none"
version=$("$binary" version 2>/dev/null | sed -n 's/^Nomad v\([0-9.]*\).*/\1/p' | head -n 1)
[ -n "$version" ] || refuse "$binary is no Nomad"
oldest=1.11.2 # earlier ones lose a dispatch's idempotency and hang event streams of slow readers
[ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ] ||
  refuse "$binary is version $version; at least $oldest is needed"
echo "Nomad $version ($binary)"
exec "$@"
