#!/bin/bash
# A Kubernetes of one node in namespaces of its own: ports, bridges, rules, mounts and processes end with it, and nothing
# of the machine is changed but empty control groups, which `down` removes.
#
#     STATE=folder BIN=folder:folder cluster.sh up IMAGE.tar...   # until its node is ready
#     STATE=folder BIN=folder:folder cluster.sh in COMMAND...     # inside, with kubectl and its configuration
#     STATE=folder cluster.sh down
set -eu
STATE=$(realpath -m "${STATE:?}")
SELF=$(realpath "$0")
HERE=$(dirname "$SELF")
GROUPS_OF_V1="cpu cpuacct cpuset memory devices freezer blkio pids"
GROUP=k8s-$(basename "$STATE")
NODE=10.99.0.1
export STATE PATH=${BIN:+$BIN:}$PATH:/usr/sbin KUBECONFIG=$STATE/kubeconfig

tried() {  # for so many seconds, a command
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "in vain: $*" >&2; return 1; }; sleep .1; done
}

certificate() {  # name, subject, extensions, name of who signs
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$4.crt" -CAkey "$4.key" -CAcreateserial -days 2 -extfile <(printf '%b' "$3") -out "$1.crt" 2>/dev/null
}

configuration() {  # a kubeconfig for a token
  cat <<K
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $STATE/pki/ca.crt}}]
users: [{name: caller, user: {token: $1}}]
contexts: [{name: here, context: {cluster: here, user: caller}}]
current-context: here
K
}

up() {
  mkdir -p "$STATE/said"
  setsid unshare --mount --cgroup --net --pid --fork --mount-proc --kill-child bash "$SELF" inside $(realpath "$@") >"$STATE/said/up" 2>&1 </dev/null &
  echo $! >"$STATE/pid"
  for _ in $(seq 1200); do
    [ ! -e "$STATE/ready" ] || return 0
    [ -d "/proc/$(cat "$STATE/pid")" ] || break
    sleep .25
  done
  tail -n 20 "$STATE"/said/* >&2
  return 1
}

down() {
  local outer; outer=$(cat "$STATE/pid")
  kill -9 "$outer" 2>/dev/null || true
  while [ -d "/proc/$outer" ] && ! grep -q '^State:.Z' "/proc/$outer/status"; do sleep .1; done
  local kind path
  for kind in $GROUPS_OF_V1 systemd; do
    path=/sys/fs/cgroup/$kind$(grep -E "^[0-9]+:(name=)?$kind:" /proc/self/cgroup | cut -d: -f3)/$GROUP
    # a process that was killed leaves its group a moment later
    [ ! -d "$path" ] || tried 10 find "$path" -depth -type d -exec rmdir {} +
  done
  rm -rf "$STATE"
}

own_machine() {  # a network, control groups and the kernel's settings as a kubelet wants them, seen in here alone
  ip link set lo up
  ip link add eth0 type veth peer name eth0p
  ip addr add $NODE/24 dev eth0
  ip link set eth0p up; ip link set eth0 up; ip route add default dev eth0
  umount -R /sys/fs/cgroup || true
  mount -t sysfs sysfs /sys
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  local kind file
  for kind in $GROUPS_OF_V1 systemd; do
    mkdir -p "/sys/fs/cgroup/$kind"
    mount -t cgroup -o "$([ $kind = systemd ] && echo none,name=)$kind" cgroup "/sys/fs/cgroup/$kind"
    mkdir -p "/sys/fs/cgroup/$kind/$GROUP"
  done
  for file in cpuset.cpus cpuset.mems; do cat /sys/fs/cgroup/cpuset/$file >"/sys/fs/cgroup/cpuset/$GROUP/$file"; done
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=sysctl/$(echo "${setting%=*}" | tr / _)
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
  done
  mount -t tmpfs tmpfs /run
  echo "nameserver $NODE" >resolv.conf  # who asks for the address of a registry is told at once that there is none
  mount --bind resolv.conf /etc/resolv.conf
  mount -t tmpfs tmpfs containerd  # 2 GB of images, which no disk has to keep
}

identities() {
  (
    cd pki
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    for who in ca front; do openssl req -x509 -newkey rsa:2048 -nodes -keyout $who.key -out $who.crt -days 2 -subj /CN=$who 2>/dev/null; done
    certificate api /CN=kube-apiserver "subjectAltName=IP:127.0.0.1,IP:$NODE,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth\n" ca
    certificate to-kubelet /O=system:masters/CN=apiserver 'extendedKeyUsage=clientAuth\n' ca
    certificate proxied /CN=front-proxy 'extendedKeyUsage=clientAuth\n' front
    admin=$(openssl rand -hex 16) node=$(openssl rand -hex 16)
    printf '%s,admin,admin,"system:masters"\n%s,system:node:node1,node1,"system:nodes"\n' "$admin" "$node" >tokens.csv
    configuration "$admin" >../kubeconfig
    configuration "$node" >../kubelet.kubeconfig
  )
}

control_plane() {
  etcd --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync >said/etcd 2>&1 &
  kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 --advertise-address=$NODE \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true --service-cluster-ip-range=10.96.0.0/16 \
    --tls-cert-file=pki/api.crt --tls-private-key-file=pki/api.key --client-ca-file=pki/ca.crt --token-auth-file=pki/tokens.csv \
    --kubelet-client-certificate=pki/to-kubelet.crt --kubelet-client-key=pki/to-kubelet.key --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=pki/sa.pub --service-account-signing-key-file=pki/sa.key \
    --requestheader-client-ca-file=pki/front.crt --requestheader-allowed-names=front-proxy --requestheader-username-headers=X-Remote-User \
    --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file=pki/proxied.crt --proxy-client-key-file=pki/proxied.key >said/apiserver 2>&1 &
}

controllers() {
  kube-controller-manager --kubeconfig=kubeconfig --bind-address=127.0.0.1 --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt \
    --use-service-account-credentials=true --leader-elect=false --horizontal-pod-autoscaler-sync-period=2s >said/controller-manager 2>&1 &
  kube-scheduler --kubeconfig=kubeconfig --bind-address=127.0.0.1 --leader-elect=false >said/scheduler 2>&1 &
}

runtime() {  # containerd, with the images in it
  cat >cni/10-bridge.conflist <<C
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
 "ipam": {"type": "host-local", "dataDir": "$STATE/ipam", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
C
  cat >containerd.toml <<C
version = 2
root = "$STATE/containerd"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/fundus-relay-pause:dev"
  restrict_oom_score_adj = true  # where there is no CAP_SYS_RESOURCE
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$STATE/cni"
C
  containerd --config containerd.toml >said/containerd 2>&1 &
  tried 30 ctr version
  local image
  for image in "$@"; do ctr -n k8s.io images import "$image"; done
}

node() {
  cat >kubelet.yaml <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$GROUP
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
oomScoreAdj: 0
syncFrequency: 5s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
podLogsDir: $STATE/logs
volumePluginDir: $STATE/plugins
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: 100Mi}
resolvConf: ""
clusterDomain: cluster.local
clusterDNS: ["$NODE"]
C
  cat >kube-proxy.yaml <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $STATE/kubeconfig}
hostnameOverride: node1
clusterCIDR: 10.88.0.0/24
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
C
  kubelet --kubeconfig=kubelet.kubeconfig --config=kubelet.yaml --root-dir="$STATE/kubelet" --hostname-override=node1 --node-ip=$NODE >said/kubelet 2>&1 &
  kube-proxy --config kube-proxy.yaml >said/kube-proxy 2>&1 &
  python3 "$HERE/addons.py" "$STATE" $NODE >said/addons 2>&1 &
}

inside() {
  cd "$STATE"
  mkdir -p pki etcd kubelet logs cni containerd plugins sysctl volume
  chmod 700 etcd
  own_machine
  identities
  control_plane  # which becomes ready while images are unpacked
  runtime "$@"
  tried 90 kubectl get --raw /readyz
  controllers
  node
  tried 60 kubectl get node/node1 serviceaccount/default
  kubectl wait --for=condition=Ready node/node1 --timeout=60s
  touch ready
  exec sleep infinity
}

case $1 in
up | inside) "$@" ;;
in) shift; exec nsenter --target "$(pgrep -P "$(cat "$STATE/pid")" | head -n 1)" --mount --net --pid --wdns="$PWD" -- "$@" ;;
down) down ;;
esac
