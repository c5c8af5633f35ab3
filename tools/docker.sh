#!/usr/bin/env bash
# tools/docker.sh COMMAND...: have a Docker engine on this machine, then run the command.
# Where there can be none it says so and fails; with DATALABS_OPTIONAL=1 it says so and passes.
set -eu
refuse() {
  echo "THE CONTAINER TIER CANNOT RUN: $1" >&2
  [ "${DATALABS_OPTIONAL:-}" = 1 ] && exit 0
  exit 1
}
answers() { docker info >/dev/null 2>&1; }
if ! answers; then
  [ "$(id -u)" = 0 ] || refuse "no Docker engine answers, and only root can install or start one"
  if ! command -v dockerd >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || refuse "there is no Docker engine, and it can only be installed on Debian"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null ||
      refuse "Debian's docker.io could not be installed"
  fi
  if ! answers; then
    log=$(mktemp -t dockerd-XXXXXX.log)
    setsid dockerd >"$log" 2>&1 </dev/null &
    for _ in $(seq 100); do
      answers && break
      sleep 0.2
    done
    answers || refuse "dockerd does not come up: $(grep -iE 'fatal|error|failed' "$log" | tail -n 1)"
  fi
fi
exec "$@"
