#!/usr/bin/env bash
# Debian's chromium for the browser tests: no browser is downloaded from anywhere else.
set -eu
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "THE BROWSER TIER CANNOT RUN: there is no chromium, and it can only be installed by root on Debian" >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
