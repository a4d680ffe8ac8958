#!/bin/sh
# `make test-cluster`: everything that the tests of this folder need is made, a cluster is started, they run inside it, and
# it ends with them, however they end. Where the machine lets nobody start one it says NOT RUN and ends with 0.
#
#     tests/cluster/run.sh [ARGUMENT OF PYTEST...]      # when a test fails, what everybody said stays in out/cluster
set -eu
cd "$(dirname "$0")/../.."
here=tests/cluster
got() {  # what a script says in the end; 3 is that this machine lets nobody have it
  code=0
  said=$("$here/$1") || code=$?
  [ $code = 0 ] || echo "$said"
  if [ $code = 3 ]; then echo "NOT RUN: no cluster is started here: $(echo "$said" | tail -n 1)"; exit 0; fi
  return $code
}
got install.sh
kubectl=$said
got build.sh
node=$said
make --no-print-directory image standin-image
$here/images.sh "$node"
# the kinds of others that deploy/ has: inside there is no way out
.venv/bin/python -c "from tests.deploy.schemas import CUSTOM; print(*CUSTOM)" | xargs go mod download

STATE=$(mktemp -d /tmp/fundus-relay-cluster-XXXXXX)
BIN=$node:$kubectl
export STATE BIN
trap '$here/cluster.sh down' EXIT
trap 'exit 130' INT TERM HUP
$here/cluster.sh up out/image/fundus-relay.tar out/image/fundus-relay-standin.tar out/image/fundus-relay-postgresql.tar out/image/fundus-relay-pause.tar
code=0
TESTS_CLUSTER=$STATE $here/cluster.sh in "$PWD/.venv/bin/python" -m pytest -p no:cacheprovider --basetemp="$STATE/tests" "${@:-tests/cluster}" || code=$?
if [ $code != 0 ]; then
  rm -rf out/cluster
  mkdir -p out/cluster
  cp -r "$STATE/said" "$STATE/logs" out/cluster
  $here/cluster.sh in kubectl get events --all-namespaces --sort-by=.lastTimestamp >out/cluster/events || true
  echo "what components, pods and events said lies in out/cluster"
fi
exit $code
