#!/bin/sh
# Installs what the end-to-end tests use, on Debian 12. Run as root.
set -eu
packages="ca-certificates containerd debian-archive-keyring docker.io docker-registry
  iproute2 jq nix-bin patchelf podman qemu-user-static runc skopeo sqlite3 strace umoci util-linux xz-utils zstd"
missing=
for p in $packages; do
  dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "e2e/install.sh: must be root to install:$missing" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# Services that the packages bring must not start: the tests start their own.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; trap 'rm -f $policy' EXIT; }
apt-get -q update
# shellcheck disable=SC2086
apt-get -q -y install --no-install-recommends $missing
