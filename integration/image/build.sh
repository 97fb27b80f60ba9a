#!/usr/bin/env bash
# Builds an image of RabbitMQ from Debian's packages, for machines on which no image registry can be reached.
#
#   build.sh 4.0    makes eventrouter-rabbitmq:4.0   (Debian trixie)
#   build.sh 3.10   makes eventrouter-rabbitmq:3.10  (Debian bookworm)
#
# It needs a Docker engine, and debootstrap or (on Debian, as root) apt-get to install it. Packages come from the mirror
# that this machine's own apt uses, or from $DEBIAN_MIRROR. An image that is there already is left alone.
set -euo pipefail

version=${1:-4.0}
case $version in
  4.0) suite=trixie ;;
  3.10) suite=bookworm ;;
  *) echo "build.sh: no Debian release with RabbitMQ \"$version\" is known: 3.10 or 4.0" >&2; exit 2 ;;
esac
image=eventrouter-rabbitmq:$version
here=$(cd "$(dirname "$0")" && pwd)

# Two test programs may start at once: the second waits, and finds the image.
exec 9>"${TMPDIR:-/tmp}/eventrouter-image-$version.lock"
flock 9
if docker image inspect "$image" >/dev/null 2>&1; then
  exit 0
fi

mirror=${DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
  mirror=$(sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(https?:[^ ]*\/debian)\/?( .*)?$/\3/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1 || true)
fi
if [ -z "$mirror" ]; then
  echo "build.sh: this machine's apt names no Debian mirror: set DEBIAN_MIRROR to one" >&2
  exit 1
fi
if ! command -v debootstrap >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "build.sh: debootstrap is missing, and only root on Debian can install it" >&2
    exit 1
  fi
  apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" "$mirror" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; exit 1; }
tar -C "$work/root" -c . | docker import - "eventrouter-debian:$suite" >/dev/null
docker build -q --network host --build-arg "SUITE=$suite" -t "$image" "$here" >/dev/null
