#!/bin/sh
# Builds Kubernetes (node/: one program that is each of its five, by the name it is called with) and its etcd (etcd/) from
# Go's module proxy, into a cache outside the checkout, where a folder's name says their version and the hash of all that
# they are built of. Twelve minutes of CPU and 4 GB of Go's own cache the first time; a folder that is there is whole.
#
#     tests/cluster/build.sh            # prints the folder; ends with 3, and the reason as its last line, without modules
set -eu
cd "$(dirname "$0")"
version=$(sed -n "s#^[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\)\$#\1#p" node/go.mod)
key=$(cat node/go.sum node/main.go node/pause/main.go etcd/go.sum | sha256sum | cut -c 1-12)
cache=${FUNDUS_RELAY_CLUSTER:-${XDG_CACHE_HOME:-$HOME/.cache}/fundus-relay/cluster}
into=$cache/$version-$key
if [ ! -d "$into" ]; then
  mkdir -p "$cache"
  # two at once, as CI has them beside its tests, are one that builds and one that waits
  exec 9>"$cache/.building"
  flock 9
fi
if [ ! -d "$into" ]; then
  began=$(date +%s)
  draft=$(mktemp -d -p "$cache")
  trap 'rm -rf "$draft"' EXIT
  minor=${version#v*.}
  said=k8s.io/component-base/version
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false -trimpath"
  # that nobody gives us a module is no fault of ours; that it is another than go.sum says has to be looked at
  (cd etcd && go list -deps go.etcd.io/etcd/server/v3 && cd ../node && go list -deps ./...) >/dev/null 2>"$draft/log" || {
    tail -n 20 "$draft/log"
    ! grep -q "checksum mismatch" "$draft/log" || exit 1
    echo "Go does not get what Kubernetes is built of: $(tail -n 1 "$draft/log")"
    exit 3
  }
  rm "$draft/log"
  (cd etcd && go build -ldflags "-s -w" -o "$draft/etcd" go.etcd.io/etcd/server/v3)
  (cd node && go build -ldflags "-s -w" -o "$draft/pause" ./pause)
  (cd node && go build -o "$draft/kube-node" \
    -ldflags "-s -w -X $said.gitVersion=$version -X $said.gitMajor=1 -X $said.gitMinor=${minor%%.*} -X $said.gitTreeState=clean" .)
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    ln -s kube-node "$draft/$name"
  done
  chmod 755 "$draft"
  mv -T "$draft" "$into"
  trap - EXIT
  echo "built Kubernetes $version and its etcd in $(($(date +%s) - began)) s" >&2
fi
echo "$into"
