#!/bin/sh
# e2e/engines.sh: installs today's engines into a separate root,
# $NIXOCI_E2E_CACHE/engines. Debian 12 has Docker 20.10, podman 4.3 and
# containerd 1.6, the oldest versions that nixoci supports. The engines in the
# separate root are the newest. e2e/enter.sh starts programs in this root.
#
# The release is Debian 14, named by its codename. In November 2026 it had
# docker.io 28.5.2, podman 5.8.6, containerd 2.1.9, runc 1.3.6, crun 1.28 and
# docker-compose 2.40.3. Their versions can only rise. The release is not sid,
# because sid cannot always be installed. If the mirror has an engine that is
# older than the tests need, this script fails.
set -eu
suite=forky
packages=docker.io,docker-cli,docker-compose,podman,containerd,runc,crun,netavark,aardvark-dns,iptables,nftables
packages=$packages,golang-github-containers-common,ca-certificates,jq,procps,curl
root=$NIXOCI_E2E_CACHE/engines
stamp="$suite $packages"
[ "$(cat "$root/etc/nixoci-e2e" 2>/dev/null)" != "$stamp" ] || exit 0
echo "e2e/engines.sh: installing Debian $suite's engines into $root" >&2
rm -rf "$root" "$root.new"
mkdir -p "$NIXOCI_E2E_CACHE/engines-debs"
# Debian 12's debootstrap does not know this release. The script for sid works
# for all newer releases.
debootstrap --variant=minbase --include="$packages" --cache-dir="$NIXOCI_E2E_CACHE/engines-debs" \
  --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
  "$suite" "$root.new" "${NIXOCI_DEBIAN_MIRROR:-http://deb.debian.org/debian}" sid >"$root.log" 2>&1 || {
  tail -n 20 "$root.log" "$root.new/debootstrap/debootstrap.log" >&2 || :
  echo "e2e/engines.sh: debootstrap of $suite failed; if the mirror has that release no more, choose the next one in e2e/engines.sh" >&2
  exit 1
}
rm -rf "$root.new"/var/cache/apt/archives/*.deb
installed() { # PACKAGE MINIMUM
  version=$(dpkg-query --admindir="$root.new/var/lib/dpkg" -W -f '${Version}' "$1")
  dpkg --compare-versions "$version" ge "$2" || {
    echo "e2e/engines.sh: $suite has $1 $version, and the tests are for $2 or newer; choose a newer release in e2e/engines.sh" >&2
    exit 1
  }
}
installed docker.io 28
installed podman 5.4
installed containerd 2.1
installed docker-compose 2.15
echo "$stamp" >"$root.new/etc/nixoci-e2e"
mv "$root.new" "$root"
