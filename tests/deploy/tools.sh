#!/bin/sh
# Builds the tools that judge deploy/ (tools.txt), from Go's module proxy, into a cache outside the checkout: one folder
# for each version, so that another version is another build and an old one is never taken for it. All of them take 400
# seconds of CPU; after ten minutes the rest is left out, and said so.
set -eu
cache=${FUNDUS_RELAY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/fundus-relay/tools}
if ! command -v go >/dev/null; then echo "NOT RUN: no tool that judges deploy/ is built, because there is no Go here"; exit 0; fi
began=$(date +%s)
grep -v '^#' "$(dirname "$0")/tools.txt" | while read -r name source; do
  into=$cache/$name-${source##*@}
  if [ -x "$into/$name" ]; then continue; fi
  draft=$(mktemp -d)
  at=$(date +%s)
  left=$((began + 600 - at))
  if [ $left -le 0 ]; then left=1; fi
  # without the tag, promtool takes in the clients of all clouds, and twice the time
  if GOBIN=$draft GOFLAGS="-buildvcs=false -trimpath" CGO_ENABLED=0 timeout $left \
    go install -ldflags "-s -w" -tags remove_all_sd "$source" >"$draft/log" 2>&1 </dev/null
  then
    mkdir -p "$into"
    mv "$draft/$name" "$into/.$name.$$" && mv "$into/.$name.$$" "$into/$name"
    echo "built $name ${source##*@} in $(($(date +%s) - at)) s"
  else
    echo "NOT RUN: $name does not build here within ten minutes of all: $(tail -n 1 "$draft/log")"
  fi
  rm -rf "$draft"
done
