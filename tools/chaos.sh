#!/usr/bin/env bash
# tools/chaos.sh PYTEST...: the chaos tests in two lanes at once, for lives mostly wait: the matrix on this machine, and all
# the rest. Both have platforms of their own. The first lane's JUnit file is the named one, the second's ends in -more.xml.
set -eu
more=()
for word in "$@"; do
  case "$word" in --junitxml=*) more+=("${word%.xml}-more.xml") ;; *) more+=("$word") ;; esac
done
export DATALABS_CHAOS_SEED="${DATALABS_CHAOS_SEED:-$((RANDOM * 30 + RANDOM % 30))}"
rest=(tests/chaos --ignore=tests/chaos/matrix_test.py)
[ -z "${DATALABS_CHAOS_LIVES:-}" ] || rest=(tests/chaos/cluster_test.py) # who wants some lives only wants no more than that
said=$(mktemp)
trap 'rm -f "$said"' EXIT
"${more[@]}" "${rest[@]}" >"$said" 2>&1 &
lane=$!
failed=0
"$@" tests/chaos/matrix_test.py || failed=$?
wait "$lane" || failed=$?
echo "-- the second lane --"
cat "$said"
exit "$failed"
