#!/bin/sh
# Makes a machine ready for container labs; run it as root before Nomad's client starts, and at each boot. Running it
# again changes nothing; `node-setup.sh remove` takes everything back.
#
#   LABS_NETWORK   name of the labs' Docker network (launcher.nomad_network)              datalabs
#   LABS_BRIDGE    name of its bridge                                                     dl-nomad
#   LABS_SUBNET    its addresses                                                          172.30.0.0/16
#   API            ADDRESS:PORT of the platform's edge as labs reach it; may be several   none
#   EDGE           addresses or networks that may reach the labs' ports; empty: all       all
#   EGRESS         yes: labs reach the internet; no: only API                             yes
#   REFUSED        networks that labs never reach, whatever else holds                    private ones, and the clouds' metadata
set -eu
network=${LABS_NETWORK:-datalabs} bridge=${LABS_BRIDGE:-dl-nomad} subnet=${LABS_SUBNET:-172.30.0.0/16}
refused=${REFUSED:-169.254.0.0/16 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15}
into=$bridge-in through=$bridge-through # labs to the machine itself; labs to and from anywhere else
[ "$(id -u)" = 0 ] || { echo "node-setup: this needs root" >&2; exit 2; }
for tool in docker iptables sysctl; do
  command -v "$tool" >/dev/null || { echo "node-setup: $tool is missing" >&2; exit 2; }
done

unhook() {
  while iptables -w -D INPUT -i "$bridge" -j "$into" 2>/dev/null; do :; done
  while iptables -w -D DOCKER-USER -j "$through" 2>/dev/null; do :; done
}

if [ "${1:-}" = remove ]; then
  unhook
  for chain in "$into" "$through"; do
    iptables -w -F "$chain" 2>/dev/null && iptables -w -X "$chain"
  done
  docker network rm "$network" >/dev/null 2>&1 || true
  exit 0
fi

# One bridge for all labs, on which none hears another.
docker network inspect "$network" >/dev/null 2>&1 || docker network create --driver bridge --subnet "$subnet" \
  -o com.docker.network.bridge.name="$bridge" -o com.docker.network.bridge.enable_icc=false \
  --label org.datalabs.network=labs "$network" >/dev/null

# A port that is asked before its lab is up: the kernel would ask for its address again after a whole second only.
sysctl -q -w "net.ipv4.neigh.$bridge.retrans_time_ms=50"

# The rules are made aside and hooked in whole; what is never answered is refused at once, so that labs do not hang.
for chain in "$into" "$through"; do
  iptables -w -N "$chain" 2>/dev/null || true
done
unhook
for chain in "$into" "$through"; do
  iptables -w -F "$chain"
done
iptables -w -A "$into" -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -w -A "$through" ! -i "$bridge" ! -o "$bridge" -j RETURN
iptables -w -A "$through" -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
iptables -w -A "$through" -i "$bridge" -o "$bridge" -j DROP
for one in ${API:-}; do
  iptables -w -A "$into" -p tcp -d "${one%:*}" --dport "${one##*:}" -j ACCEPT
  iptables -w -A "$through" -i "$bridge" -p tcp -d "${one%:*}" --dport "${one##*:}" -j RETURN
done
iptables -w -A "$into" -j REJECT
for one in $refused; do
  iptables -w -A "$through" -i "$bridge" -d "$one" -j REJECT
done
[ "${EGRESS:-yes}" = yes ] || iptables -w -A "$through" -i "$bridge" -j REJECT
if [ -n "${EDGE:-}" ]; then
  for one in $EDGE; do
    iptables -w -A "$through" -o "$bridge" -s "$one" -j RETURN
  done
  iptables -w -A "$through" -o "$bridge" -j DROP
fi
iptables -w -A "$through" -j RETURN
iptables -w -I INPUT 1 -i "$bridge" -j "$into"
iptables -w -N DOCKER-USER 2>/dev/null || true
iptables -w -C FORWARD -j DOCKER-USER 2>/dev/null || iptables -w -I FORWARD 1 -j DOCKER-USER
iptables -w -I DOCKER-USER 1 -j "$through"
echo "node-setup: labs' network $network on $bridge ($subnet)"
