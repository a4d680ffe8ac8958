#!/bin/sh
# The image without Docker and without a registry: on a base that debootstrap makes of Debian's own packages, by Buildah,
# into an archive that any containerd imports. Needs root, and Debian's buildah and debootstrap.
#
#     deploy/image/build.sh [TARGET]     # out/image/fundus-relay.tar; TARGET standin: out/image/fundus-relay-standin.tar
set -eu
cd "$(dirname "$0")/../.."
if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "NOT RUN: no image is built, because that needs root, and Debian's buildah and debootstrap"
  exit 0
fi
suite=bookworm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fundus-relay/image
base=$cache/base-$suite.tar
name=fundus-relay${1:+-$1}
if [ ! -e "$base" ]; then
  mkdir -p "$cache"
  draft=$(mktemp -d -p "$cache")
  trap 'rm -rf "$draft"' EXIT
  # the mirror that this machine uses
  mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[.*\] \)\{0,1\}\(http[^ ]*\) .*/\2/p' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$draft/root" "$mirror" >"$draft/log" 2>&1 || { tail "$draft/log"; exit 1; }
  rm -rf "$draft"/root/var/cache/apt/* "$draft"/root/var/lib/apt/lists/* "$draft"/root/var/log/* \
    "$draft"/root/usr/share/doc/* "$draft"/root/usr/share/man/* "$draft"/root/usr/share/locale/* "$draft"/root/usr/share/info/*
  tar -C "$draft/root" --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$draft/base.tar" .
  mv "$draft/base.tar" "$base"
fi
if ! buildah inspect --type image localhost/fundus-relay-base:$suite >/dev/null 2>&1; then
  scratch=$(buildah from scratch)
  buildah add --quiet "$scratch" "$base" /
  buildah commit --quiet --rm "$scratch" localhost/fundus-relay-base:$suite >/dev/null
fi
# this machine's own certificates and way to a registry, while it is built and not in what is built
set -- --target "${1:-}"
[ "$2" ] || set --
for path in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
  if [ -e $path ]; then set -- "$@" --volume $path:$path:ro; fi
done
mkdir -p out/image
buildah bud --isolation chroot --layers --quiet --build-arg BASE=localhost/fundus-relay-base:$suite "$@" \
  --file deploy/image/Containerfile --tag localhost/$name:dev .
rm -f out/image/$name.tar
buildah push --quiet localhost/$name:dev oci-archive:out/image/$name.tar:localhost/$name:dev
ls -sh out/image/$name.tar
