#!/bin/sh
# The images that are the cluster's own, beside the two of `make image standin-image`.
#
#     tests/cluster/images.sh FOLDER     # where build.sh put its programs
set -eu
cd "$(dirname "$0")"
out=$(realpath ../..)/out/image

buildah bud --isolation chroot --quiet --tag localhost/fundus-relay-postgresql:dev postgresql >/dev/null
scratch=$(buildah from scratch)
buildah copy --quiet "$scratch" "$1/pause" /pause >/dev/null
buildah config --entrypoint '["/pause"]' "$scratch"
buildah commit --quiet --rm "$scratch" localhost/fundus-relay-pause:dev >/dev/null
for name in postgresql pause; do
  rm -f "$out/fundus-relay-$name.tar"
  buildah push --quiet localhost/fundus-relay-$name:dev "oci-archive:$out/fundus-relay-$name.tar:localhost/fundus-relay-$name:dev"
done
