#!/usr/bin/env bash
# Debian's libfaketime for the test that sets the clock of single processes. Without it that one test is left out, loudly.
set -eu
compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 &&
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends faketime >/dev/null; then
  exit 0
fi
echo "CLOCKS WILL NOT BE STEPPED: there is no libfaketime, and it could not be installed (root on Debian can)" >&2
