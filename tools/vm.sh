#!/usr/bin/env bash
# tools/vm.sh COMMAND...: have QEMU on this machine, then run the command.
# Where there can be none it says so and fails; with DATALABS_OPTIONAL=1 it says so and passes.
set -eu
refuse() {
  echo "THE VM TIER CANNOT RUN: $1" >&2
  [ "${DATALABS_OPTIONAL:-}" = 1 ] && exit 0
  exit 1
}
if ! command -v qemu-system-x86_64 >/dev/null 2>&1 || ! command -v qemu-img >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || refuse "there is no QEMU, and only root can install it"
  command -v apt-get >/dev/null 2>&1 || refuse "there is no QEMU, and it can only be installed on Debian"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-x86 qemu-utils >/dev/null ||
    refuse "Debian's qemu-system-x86 could not be installed"
fi
exec "$@"
